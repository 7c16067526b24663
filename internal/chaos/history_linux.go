package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// A history is the file in which a program writes down what it does. Each record is
// one write, so what has returned is there, whatever becomes of the program.
type history struct {
	mu   sync.Mutex
	file *os.File
}

func historyFile(dir, name string) string { return filepath.Join(dir, name+".jsonl") }

func newHistory(path string) (*history, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return &history{file: f}, err
}

func (h *history) write(r *record) {
	line, err := json.Marshal(r)
	if err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		_, err = h.file.Write(append(line, '\n'))
	}
	if err != nil {
		panic(fmt.Sprintf("a program that cannot write down what it does must not go on: %v", err))
	}
}

// A tail reads a history as it grows.
type tail struct {
	file *os.File // nil: not there yet
	path string
	at   int64  // octets that were read
	rest []byte // of a line that is not whole
}

// read gives every record to take that is there when it begins.
func (t *tail) read(take func(*record)) error {
	if t.file == nil {
		f, err := os.Open(t.path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		t.file = f
	}
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	fresh := make([]byte, info.Size()-t.at)
	n, err := io.ReadFull(t.file, fresh)
	if err != nil {
		return err
	}
	t.at += int64(n)
	t.rest = append(t.rest, fresh...)
	for {
		line, rest, ok := bytes.Cut(t.rest, []byte{'\n'})
		if !ok {
			t.rest = bytes.Clone(t.rest) // the large piece is free
			return nil
		}
		r := new(record)
		if err := json.Unmarshal(line, r); err != nil {
			return fmt.Errorf("%s: %w in %q", t.path, err, line)
		}
		take(r)
		t.rest = rest
	}
}

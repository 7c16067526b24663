package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/project-iris/iris/internal/localsock"
)

// Ask asks the node whose state directory is given for a path, such as /status, and
// decodes its answer into v. Where no node runs the error is fs.ErrNotExist or
// ECONNREFUSED.
func Ask(ctx context.Context, state, path string, v any) error {
	answer, err := Open(ctx, state, path)
	return decode(state, answer, err, v)
}

// Order has the node do what a path stands for, with a body, by POST. The rest is as with
// Ask.
func Order(ctx context.Context, state, path string, body []byte, v any) error {
	answer, err := begin(ctx, state, http.MethodPost, path, body)
	return decode(state, answer, err, v)
}

func decode(state string, answer io.ReadCloser, err error, v any) error {
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := json.NewDecoder(answer).Decode(v); err != nil {
		return asking(state, err)
	}
	return nil
}

// Open asks as Ask does, and returns the answer as it comes, for the caller to close.
func Open(ctx context.Context, state, path string) (io.ReadCloser, error) {
	return begin(ctx, state, http.MethodGet, path, nil)
}

func begin(ctx context.Context, state, method, path string, body []byte) (io.ReadCloser, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return localsock.DialTrusted(filepath.Join(state, Socket))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://iris"+path, bytes.NewReader(body))
	if err != nil {
		return nil, asking(state, err)
	}
	resp, err := client.Do(req)
	if urlErr := (*url.Error)(nil); errors.As(err, &urlErr) {
		err = urlErr.Err // without an address that means nothing to people
	}
	if err != nil {
		return nil, asking(state, err)
	}
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		resp.Body.Close()
		return nil, asking(state, fmt.Errorf("it answered %s: %s", resp.Status, strings.TrimSpace(string(why))))
	}
	return resp.Body, nil
}

func asking(state string, err error) error {
	return fmt.Errorf("ask the node in %s: %w", state, err)
}

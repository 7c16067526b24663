package conform

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// Vectors returns the cases of the test vectors of the protocol, a file that
// package relaywire keeps: what a node does with invalid input, and when it
// delivers the chunks of a tunnel.
func Vectors(t testing.TB, path string) []Case {
	t.Helper()
	file := readVectors(t, path)
	cases := file.invalid("vector/", relaywire.V1)
	if len(file.Delivery) == 0 {
		t.Fatalf("%s: a part of the vectors is missing", path)
	}
	for _, v := range file.Delivery {
		cases = append(cases, Case{Name: "vector/" + v.Name, Run: play(v.play)})
	}
	return cases
}

// OlderVectors returns those of V0, which are about invalid input alone.
func OlderVectors(t testing.TB, path string) []Case {
	t.Helper()
	return readVectors(t, path).invalid("vector of v0/", relaywire.V0)
}

// vectors is what is played of a file.
type vectors struct {
	Invalid  []invalidInput
	Delivery []delivery
}

func readVectors(t testing.TB, path string) (file vectors) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if len(file.Invalid) == 0 {
		t.Fatalf("%s: a part of the vectors is missing", path)
	}
	return file
}

func (f vectors) invalid(prefix string, d relaywire.Dialect) (cases []Case) {
	for _, v := range f.Invalid {
		v.dialect = d
		cases = append(cases, Case{Name: prefix + v.Name, Run: play(v.play)})
	}
	return cases
}

// An invalidInput is what a client might send, and what a node does about it.
type invalidInput struct {
	dialect           relaywire.Dialect
	Name, Hex, Expect string
	AfterHandshake    bool   `json:"after_handshake"`
	Response          string // in digits
}

func (v invalidInput) play(s *stage) {
	other := s.attachClientOnly()
	c := s.dial("client")
	switch {
	case v.AfterHandshake && v.dialect == relaywire.V0:
		c.attachOlder("group")
	case v.AfterHandshake:
		c.send(initOf(""))
		c.expect(accept)
	}
	c.sendHex(v.Hex)
	switch v.Expect {
	case "drop-silent":
		c.expectEOF()
	case "deny-and-close":
		m := c.next(false)
		if got := hex.EncodeToString(m.AppendToClient(nil)); got != v.Response {
			s.Fatalf("came %s, wanted %s", got, v.Response)
		}
		c.expectEOF()
	case "drop":
		c.expectDrop()
	case "drop-on-eof":
		c.halfClose()
		c.expectEOF()
	case "ignore":
		c.sync()
		c.expectNothing(time.Second)
	default:
		s.Fatalf("unknown expectation %q", v.Expect)
	}
	other.sync()
}

// A delivery is a sequence of chunks sent to a program and allowances of the
// program, and what is delivered after each.
type delivery struct {
	Name  string
	Steps []struct {
		Event     []any    // "queue", size, octets; or "grant", octets
		Delivered [][2]int // size, octets
		Credit    int64
	}
}

func (v delivery) play(s *stage) {
	m, c := s.attach("group"), s.attachClientOnly()
	s.tunnel(c, 1, "group", m, 1, 0)
	for i, step := range v.Steps {
		number := func(j int) uint64 { return uint64(step.Event[j].(float64)) }
		switch step.Event[0] {
		case "queue":
			c.awaitWindow(1, int(number(2)))
			c.send(chunk(1, number(1), pattern(0, int(number(2)))))
		case "grant":
			m.send(tunnelAllow(1, number(1)))
		default:
			s.Fatalf("step %d: unknown event %v", i, step.Event)
		}
		for _, d := range step.Delivered {
			m.expect(chunk(1, uint64(d[0]), pattern(0, d[1])))
		}
		m.expectNothing(100 * time.Millisecond)
		if got := m.check.open(1).credit; got != step.Credit {
			s.Fatalf("step %d: credit is %d, wanted %d", i, got, step.Credit)
		}
	}
}

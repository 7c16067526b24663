package core

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// String makes changes readable in tests: +c:name@conn, -t:name@conn.
func (ch Change) String() string {
	sign, kind := "-", "t"
	if ch.Join {
		sign = "+"
	}
	if ch.Kind == Cluster {
		kind = "c"
	}
	return fmt.Sprintf("%s%s:%s@%d", sign, kind, ch.Name, ch.Conn)
}

func (o *Output) take() string {
	var s []string
	for _, ch := range o.Changes {
		s = append(s, ch.String())
	}
	o.Changes = o.Changes[:0]
	return strings.Join(s, " ")
}

func TestRegistrations(t *testing.T) {
	attach := func(id Conn, cluster string) func(*Core, *Output) any {
		return func(c *Core, out *Output) any { return c.Attach(time.Time{}, id, cluster, out) }
	}
	subscribe := func(id Conn, topic string) func(*Core, *Output) any {
		return func(c *Core, out *Output) any {
			fresh, err := c.Subscribe(time.Time{}, id, topic, out)
			if err != nil {
				return err
			}
			return fresh
		}
	}
	unsubscribe := func(id Conn, topic string) func(*Core, *Output) any {
		return func(c *Core, out *Output) any { return c.Unsubscribe(time.Time{}, id, topic, out) }
	}
	detach := func(id Conn) func(*Core, *Output) any {
		return func(c *Core, out *Output) any { c.Detach(time.Time{}, id, out); return nil }
	}
	c := New(time.Time{}, Config{Limit: 2})
	var out Output
	for i, step := range []struct {
		do   func(*Core, *Output) any
		want any
		out  string
		len  int
	}{
		{attach(1, "echo"), nil, "+c:echo@1", 1},
		{attach(2, ""), nil, "", 2},
		{attach(3, "echo"), ErrTooMany, "", 2},
		{subscribe(3, "news"), false, "", 2}, // was turned away
		{unsubscribe(3, "news"), false, "", 2},
		{detach(3), nil, "", 2},

		{subscribe(2, "news"), true, "+t:news@2", 2},
		{subscribe(2, "news"), false, "", 2}, // R18
		{subscribe(1, "news"), true, "+t:news@1", 2},
		{subscribe(2, "echo"), true, "+t:echo@2", 2}, // not the cluster
		{subscribe(2, ""), true, "+t:@2", 2},         // a name like any other
		{unsubscribe(2, "news"), true, "-t:news@2", 2},
		{unsubscribe(2, "news"), false, "", 2}, // R19
		{unsubscribe(1, "echo"), false, "", 2}, // is of the cluster
		{subscribe(2, "news"), true, "+t:news@2", 2},

		{detach(1), nil, "-c:echo@1 -t:news@1", 1},
		{detach(1), nil, "", 1},
		{subscribe(1, "news"), false, "", 1},
		{attach(4, "echo"), nil, "+c:echo@4", 2}, // in the place of 1
		{unsubscribe(2, ""), true, "-t:@2", 2},
		{detach(2), nil, "-t:news@2 -t:echo@2", 1},
		{detach(4), nil, "-c:echo@4", 0},
	} {
		if got := step.do(c, &out); got != step.want {
			t.Errorf("step %d: got %v, want %v", i, got, step.want)
		}
		if got := out.take(); got != step.out {
			t.Errorf("step %d: output %q, want %q", i, got, step.out)
		}
		if c.Len() != step.len {
			t.Errorf("step %d: %d connections, want %d", i, c.Len(), step.len)
		}
	}
}

func TestNamesOfOneConnectionAreLimited(t *testing.T) {
	c := New(time.Time{}, Config{Limit: 1})
	var out Output
	c.Attach(time.Time{}, 1, "a cluster does not count", &out)
	for i := range MaxNames {
		if fresh, err := c.Subscribe(time.Time{}, 1, fmt.Sprint(i), &out); !fresh || err != nil {
			t.Fatalf("topic %d: %v, %v", i, fresh, err)
		}
	}
	out.take()
	if _, err := c.Subscribe(time.Time{}, 1, "one more", &out); !errors.Is(err, ErrNames) || out.take() != "" {
		t.Fatalf("one more than %d topics: %v", MaxNames, err)
	}
	if fresh, err := c.Subscribe(time.Time{}, 1, "7", &out); fresh || err != nil {
		t.Fatalf("a topic it has, when full: %v, %v", fresh, err)
	}
	c.Unsubscribe(time.Time{}, 1, "7", &out)
	if fresh, err := c.Subscribe(time.Time{}, 1, "one more", &out); !fresh || err != nil {
		t.Fatalf("one in the place of another: %v, %v", fresh, err)
	}
	out.take()
	c.Detach(time.Time{}, 1, &out)
	if len(out.Changes) != MaxNames+1 {
		t.Fatalf("%d memberships ended, want %d", len(out.Changes), MaxNames+1)
	}
}

// run plays random events and returns all output; the changes must describe a
// model of who is a member of what, step by step.
func run(t *testing.T, seed uint64) []string {
	const limit = 12
	type membership struct {
		kind Kind
		name string
		conn Conn
	}
	r := rand.New(rand.NewPCG(seed, 1))
	c := New(time.Time{}, Config{Limit: limit})
	attached := make(map[Conn]bool)
	members := make(map[membership]bool)
	var out Output
	var log []string
	var last Conn
	for range 2000 {
		id := Conn(1 + r.IntN(int(last)+1))
		name := string(rune('a' + r.IntN(6)))
		switch r.IntN(8) {
		case 0:
			last++
			if r.IntN(3) == 0 {
				name = ""
			}
			if err := c.Attach(time.Time{}, last, name, &out); (err == nil) != (len(attached) < limit) {
				t.Fatalf("seed %d: Attach beside %d: %v", seed, len(attached), err)
			} else if err == nil {
				attached[last] = true
			}
			if want := attached[last] && name != ""; (len(out.Changes) == 1) != want {
				t.Fatalf("seed %d: Attach to %q changed %v", seed, name, out.Changes)
			}
		case 1:
			c.Detach(time.Time{}, id, &out)
			delete(attached, id)
			n := 0
			for m := range members {
				if m.conn == id {
					n++
				}
			}
			if len(out.Changes) != n {
				t.Fatalf("seed %d: Detach ended %v, of %d memberships", seed, out.Changes, n)
			}
		case 2, 3, 4, 5:
			want := attached[id] && !members[membership{Topic, name, id}]
			if got, err := c.Subscribe(time.Time{}, id, name, &out); got != want || err != nil {
				t.Fatalf("seed %d: Subscribe = %v, %v; want %v", seed, got, err, want)
			}
		default:
			want := members[membership{Topic, name, id}]
			if got := c.Unsubscribe(time.Time{}, id, name, &out); got != want {
				t.Fatalf("seed %d: Unsubscribe = %v, want %v", seed, got, want)
			}
		}
		for _, ch := range out.Changes {
			m := membership{ch.Kind, ch.Name, ch.Conn}
			if members[m] == ch.Join {
				t.Fatalf("seed %d: %v changes nothing", seed, ch)
			}
			members[m] = ch.Join
			if !ch.Join {
				delete(members, m)
			}
		}
		if c.Len() != len(attached) {
			t.Fatalf("seed %d: %d connections, want %d", seed, c.Len(), len(attached))
		}
		log = append(log, out.take())
	}
	return log
}

func TestCoreAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		if a, b := run(t, seed), run(t, seed); !slices.Equal(a, b) {
			t.Errorf("seed %d: two runs have different output", seed)
		}
	}
}

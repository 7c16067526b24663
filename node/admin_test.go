package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/queue"
	"github.com/project-iris/iris/internal/ring"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

// answering starts a node that answers HTTP over TCP.
func answering(t *testing.T, c Config) *Node {
	t.Helper()
	c.Admin = "127.0.0.1:0"
	return started(t, c)
}

// get asks a node over TCP, each time by a connection of its own.
func get(t testing.TB, n *Node, path string) (status int, body string) {
	t.Helper()
	resp := ask(t, n, path, "")
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func ask(t testing.TB, n *Node, path, accept string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(inTime(t), "GET", "http://"+n.adminAddr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestNoPprofOnTCP(t *testing.T) {
	n := answering(t, Config{Dev: true})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile", "/debug/pprof", "//debug/pprof/heap"} {
		if status, body := get(t, n, path); status != http.StatusNotFound {
			t.Errorf("%s is answered %d %.40q, want 404", path, status, body)
		}
	}
	if status, body := get(t, n, "/status"); status != http.StatusOK || !strings.Contains(body, `"dev":true`) {
		t.Errorf("/status is answered %d %.40q", status, body)
	}
}

func TestAdminPortInUseIsFatal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := New(Config{Dev: true, Admin: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Start(); err == nil || !strings.Contains(err.Error(), "--admin-listen") || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Start() = %v, want what to do", err)
	}
}

func TestDevStaysOnLoopback(t *testing.T) {
	for addr, fine := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:8080": true, "[::1]:0": true,
		":8080": false, "0.0.0.0:8080": false, "192.0.2.1:8080": false, "example.com:8080": false, "8080": false, "127.0.0.1": false,
	} {
		if _, err := New(Config{Dev: true, Admin: addr}); (err == nil) != fine {
			t.Errorf("an admin port at %s: %v", addr, err)
		}
	}
	for _, c := range []Config{
		{Dev: true, AdminHosts: []string{"iris.example"}},
		{Dev: true, Admin: "127.0.0.1:0", AdminHosts: []string{"http://iris.example"}},
		{Dev: true, Admin: "127.0.0.1:0", AdminHosts: []string{"iris.example:80"}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("names %q for an admin port at %q are taken", c.AdminHosts, c.Admin)
		}
	}
}

func TestNodeThatHangsIsNotHealthy(t *testing.T) {
	n := answering(t, Config{Dev: true})
	if status, body := get(t, n, "/healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz is answered %d %q, want 200 ok", status, body)
	}
	hang := make(chan struct{})
	n.tell(func(time.Time, *queue.Batch) { <-hang })
	status, body := get(t, n, "/healthz")
	close(hang)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "does not answer") {
		t.Errorf("of a node that hangs /healthz is answered %d %q", status, body)
	}
	if status, _ := get(t, n, "/healthz"); status != http.StatusOK {
		t.Errorf("when it goes on /healthz is answered %d", status)
	}
}

func TestNodeIsReadyOnceItHasJoined(t *testing.T) {
	first := answering(t, Config{Network: "test", Key: testKey, Listen: "127.0.0.1:0"})
	if status, body := get(t, first, "/readyz"); status != http.StatusOK {
		t.Errorf("of a node that looks for nobody /readyz is answered %d %q", status, body)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close() // nobody is there
	lost := answering(t, Config{Network: "test", Key: testKey, Peers: []string{closed.Addr().String()}})
	resp := ask(t, lost, "/readyz", "application/json")
	var answer struct {
		OK     bool
		Reason string
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || err != nil || answer.OK || !strings.Contains(answer.Reason, "joined") {
		t.Errorf("of a node that looks for others /readyz is answered %d %+v, %v", resp.StatusCode, answer, err)
	}
	second := answering(t, Config{Network: "test", Key: testKey, Peers: []string{first.network.listener.Addr().String()}})
	eventually(t, "a node that has joined is ready", func() bool {
		status, _ := get(t, second, "/readyz")
		return status == http.StatusOK
	})
	if !loopSays(second, func() bool { return second.loop.Core.State() == wire.Active }) {
		t.Error("it is ready, and has not joined")
	}
	second.leaving.Store(true)
	if status, body := get(t, second, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "draining") {
		t.Errorf("of a node that ends /readyz is answered %d %q", status, body)
	}
}

// A node that found nobody serves its host.
func TestNodeThatStaysAloneBecomesReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := New(Config{Network: "test", Key: testKey, Peers: []string{"192.0.2.1:1"}, Listeners: []net.Listener{}})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		n.network.dial = func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errors.New("nobody is there") }
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lonelyLimit - time.Second)
		if why := n.unready(); why == "" {
			t.Error("it is ready before it had time to find others")
		}
		time.Sleep(2 * time.Second)
		if why := n.unready(); why != "" {
			t.Errorf("after %v alone it is not ready: %s", lonelyLimit, why)
		}
	})
}

// followed reads the events of a node, from when it returns.
func followed(t *testing.T, n *Node) (next func() Event) {
	t.Helper()
	resp := ask(t, n, "/events", "")
	t.Cleanup(func() { resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Fatalf("/events is answered %s, %s", resp.Status, got)
	}
	in := json.NewDecoder(resp.Body)
	return func() (e Event) {
		t.Helper()
		if err := in.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if time.Since(e.Time) > patience || e.Event == "" {
			t.Errorf("came %+v", e)
		}
		e.Time = time.Time{}
		return e
	}
}

func TestEventsTellWhatHappens(t *testing.T) {
	a := answering(t, Config{Network: "test", Key: testKey, Listen: "127.0.0.1:0"})
	next := followed(t, a)

	first, err := a.Connect("echo", &handler{})
	if err != nil {
		t.Fatal(err)
	}
	second := attached(t, a, "echo", &handler{})
	first.Close()
	second.Close()
	for _, want := range []Event{
		{Event: "program_attached", Program: uint64(first.conn.ID), Cluster: "echo"},
		{Event: "first_member", Cluster: "echo"},
		{Event: "program_attached", Program: uint64(second.conn.ID), Cluster: "echo"},
		{Event: "program_ended", Program: uint64(first.conn.ID), Cluster: "echo", Reason: "orderly"},
		{Event: "program_ended", Program: uint64(second.conn.ID), Cluster: "echo", Reason: "orderly"},
		{Event: "no_member", Cluster: "echo"},
	} {
		if got := next(); got != want {
			t.Fatalf("came %+v, want %+v", got, want)
		}
	}

	a.refused.Refuse(session.PeerTag, "192.0.2.1", ring.ID{}, nil)
	if got := next(); got.Code != "peer_tag" || got.Address != "192.0.2.1" || got.Reason == "" {
		t.Errorf("a refusal is told as %+v", got)
	}
	a.plane.Drops.LateReplies.Add(7)
	if got, want := next(), (Event{Event: "dropped", What: "late replies", Count: 7}); got != want {
		t.Errorf("a drop is told as %+v, want %+v", got, want)
	}

	b := answering(t, Config{Network: "test", Key: testKey, Listen: "127.0.0.1:0", Peers: []string{a.network.listener.Addr().String()}})
	id, told := b.network.identity.ID().String(), []string{}
	until := func(last string) {
		for e := next(); ; e = next() {
			if e.Event != "state" && e.Node != id {
				t.Errorf("of the other node is told %+v", e)
			}
			if told = append(told, e.Event+e.State); e.Event == last {
				return
			}
		}
	}
	until("node_joined")
	b.Close()
	until("link_down")
	for _, want := range []string{"link_up", "stateactive", "node_joined", "link_down"} {
		if !slices.Contains(told, want) {
			t.Errorf("of a node that came and went is told %v, want %s among it", told, want)
		}
	}
}

// Who reads too slowly is told how much was left out, and where.
func TestSlowFollowerIsToldWhatItMissed(t *testing.T) {
	var e events
	f := e.follow()
	for i := range mostEvents + 5 {
		e.publish(Event{Event: "state", Count: uint64(i + 1)})
	}
	lines := f.take()
	var last, before Event
	json.Unmarshal(lines[len(lines)-1], &last)
	json.Unmarshal(lines[len(lines)-2], &before)
	if len(lines) != mostEvents+1 || last.Event != "missed" || last.Count != 5 || before.Count != mostEvents {
		t.Errorf("%d lines wait, the last two are %+v, %+v: want %d events, and 5 missed", len(lines), before, last, mostEvents)
	}
	long := Event{Event: "state", Topic: strings.Repeat("t", mostOctets/4)}
	for range 5 {
		e.publish(long)
	}
	e.publish(Event{Event: "state"}) // for which there is room, and which is not the next
	if f.octets > mostOctets {
		t.Errorf("%d octets wait, at most %d may", f.octets, mostOctets)
	}
	if lines = f.take(); len(lines) != 3+1 {
		t.Errorf("%d lines wait, want three long events and what was missed", len(lines))
	}
	e.publish(Event{Event: "state"})
	if lines = f.take(); len(lines) != 1 || strings.Contains(string(lines[0]), "missed") {
		t.Errorf("when it has read on there wait %q", lines)
	}
	e.unfollow(f)
	if e.heard() {
		t.Error("nobody follows, and somebody is told")
	}
}

func TestFollowersAreBounded(t *testing.T) {
	n := answering(t, Config{Dev: true})
	for range mostFollowers {
		followed(t, n)
	}
	if status, body := get(t, n, "/events"); status != http.StatusServiceUnavailable || !strings.Contains(body, "end one") {
		t.Errorf("one more is answered %d %q", status, body)
	}
	if status, _ := get(t, n, "/healthz"); status != http.StatusOK {
		t.Errorf("then /healthz is answered %d", status)
	}
}

// Who does not read at all holds nobody up, and Close least of all.
func TestStuckFollowerHoldsNothingUp(t *testing.T) {
	n := answering(t, Config{Dev: true})
	nc, err := net.Dial("tcp", n.adminAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "GET /events HTTP/1.1\r\nHost: %s\r\n\r\n", n.adminAddr)
	if _, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 64<<10)
	for range 256 { // far more than sockets take
		n.events.publish(Event{Event: "state", Reason: long})
	}
	began := time.Now()
	n.Close()
	if took := time.Since(began); took > writeTime/2 {
		t.Errorf("Close took %v", took)
	}
}

func BenchmarkEventsWithoutFollower(b *testing.B) {
	n, err := New(Config{Dev: true})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	b.ReportAllocs()
	for b.Loop() {
		n.tellNode("link_up", ring.ID{}, "", "")
	}
}

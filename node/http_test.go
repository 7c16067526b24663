package node

import (
	"io"
	"net"
	"testing"
	"time"
)

// A browser, or whoever else speaks HTTP to the relay's port, gets no octet of an
// answer: nothing there could be mistaken for a page.
func TestNoHTTPOnRelayPort(t *testing.T) {
	n := started(t, Config{Dev: true})
	for _, addr := range n.addrs {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(nc, "GET / HTTP/1.1\r\nHost: localhost:55555\r\nConnection: keep-alive\r\n\r\n")
		if got, _ := io.ReadAll(nc); len(got) > 0 {
			t.Errorf("%s answered %q", addr, got)
		}
	}
	if s, err := n.Status(); err != nil || s.Ended["handshake failed"] != uint64(len(n.addrs)) {
		t.Errorf("status %+v, %v: want %d handshakes that failed", s, err, len(n.addrs))
	}
}

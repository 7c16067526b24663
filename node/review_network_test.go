package node

import (
	"net"
	"testing"
	"time"
)

// A node whose relay port is taken says so, in a network too.
func TestStartInANetworkSaysThatThePortIsInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := New(Config{Network: "test", Key: testKey, Listen: "127.0.0.1:0", Port: l.Addr().(*net.TCPAddr).Port})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() { started <- n.Start() }()
	select {
	case err := <-started:
		if err == nil {
			n.Close()
			t.Error("it started")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Start does not return")
	}
}

package main

import (
	"net"
	"strings"
	"testing"

	"github.com/project-iris/iris/internal/relaywire"
)

// TestBadRelayFailsTheCheck has the check meet what is no relay, or one that
// serves nobody.
func TestBadRelayFailsTheCheck(t *testing.T) {
	message := func(m relaywire.Message) []byte { return m.AppendToClient(nil) }
	accept := message(relaywire.Message{Op: relaywire.Accept, Magic: []byte(relaywire.NodeMagic), Version: []byte(relaywire.Version)})
	for what, test := range map[string]struct {
		says []byte
		want string
	}{
		"silence": {nil, "hung up"},
		"other":   {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), "does not speak the relay protocol"},
		"deny":    {message(relaywire.Message{Op: relaywire.Deny, Magic: []byte(relaywire.NodeMagic), Body: []byte("no room")}), "no room"},
		"end":     {accept, "without a word"},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Write(test.says)
				conn.(*net.TCPConn).CloseWrite()
				defer conn.Close()
			}
		}()
		sentence, err := checkRelay(l.Addr().String())
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), l.Addr().String()) {
			t.Errorf("%s: checkRelay() = %q, %v, want an error with %q and the address", what, sentence, err, test.want)
		}
		l.Close()
		<-done
	}
}

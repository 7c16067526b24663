package hosts

import (
	"bytes"
	"context"
	"testing"

	"github.com/project-iris/iris"
)

func TestNodesServeTheirHosts(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2) // or skip
	thePlace.need(t)
	ctx := withLimit(t)
	for _, h := range l.Hosts {
		n := thePlace.start(t, h, "--dev")
		config := iris.Config{Address: n.Socket}
		service, err := config.Register(ctx, "shout", iris.HandlerFunc(func(_ context.Context, body []byte) ([]byte, error) {
			return bytes.ToUpper(body), nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		reply, err := service.Request(ctx, "shout", []byte(h.Name))
		if want := bytes.ToUpper([]byte(h.Name)); err != nil || !bytes.Equal(reply, want) {
			t.Errorf("%s: the reply is %q, %v, want %q", h.Name, reply, err, want)
		}
		var status struct{ PID int }
		if err := n.Status(ctx, &status); err != nil || status.PID != n.PID() {
			t.Errorf("%s: the status is that of process %d, %v, want %d", h.Name, status.PID, err, n.PID())
		}
		if err := n.Stop(ctx); err != nil {
			t.Errorf("%s: %v", h.Name, err)
		}
		<-service.Done()
	}
}

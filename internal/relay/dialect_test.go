package relay

import (
	"testing"
	"testing/synctest"

	"github.com/project-iris/iris/internal/relaywire"
)

// attachOlder attaches a program of V0.
func (w *world) attachOlder(app string) *program {
	w.t.Helper()
	p := w.dial()
	p.dialect = relaywire.V0
	p.send(relaywire.Message{Op: relaywire.Init, Version: []byte(relaywire.VersionV0), Name: []byte(app)})
	if m, err := p.read(); err != nil || m.Op != relaywire.Accept {
		w.t.Fatalf("attach: came %v, %v", m.Op, err)
	}
	return p
}

// joining has a program of v1 send a part of a message of 32 MiB to one of V0.
func joining(w *world, octets int) (sender, older *program) {
	w.t.Helper()
	sender, older = w.attach(""), w.attachOlder("group")
	sender.send(relaywire.Message{Op: relaywire.TunnelInit, ID: 1, Name: []byte("group"), Timeout: 10_000})
	offer, err := older.read()
	if err != nil {
		w.t.Fatal(err)
	}
	older.send(relaywire.Message{Op: relaywire.TunnelConfirm, ID: offer.ID, Tunnel: 2, Size: 128})
	for _, want := range []relaywire.Op{relaywire.TunnelResult, relaywire.TunnelAllow} {
		if m, err := sender.read(); err != nil || m.Op != want {
			w.t.Fatalf("came %+v, %v", m, err)
		}
	}
	for size := uint64(32 << 20); octets > 0; size = 0 {
		sender.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: 1, Size: size, Body: make([]byte, relaywire.ChunkLimit)})
		octets -= relaywire.ChunkLimit
	}
	synctest.Wait()
	return sender, older
}

// What has come of a message is charged, not what was announced, and gone with its
// tunnel.
func TestPartOfAMessageIsChargedAsLongAsItIsThere(t *testing.T) {
	for name, end := range map[string]func(sender, older *program){
		"another message": func(sender, _ *program) {
			sender.send(relaywire.Message{Op: relaywire.TunnelTransfer, ID: 1, Size: 2, Body: []byte("hi")})
		},
		"close of the tunnel":            func(sender, _ *program) { sender.send(relaywire.Message{Op: relaywire.TunnelClose, ID: 1}) },
		"close by the program of V0":     func(_, older *program) { older.send(relaywire.Message{Op: relaywire.TunnelClose, ID: 2}) },
		"end of the sender":              func(sender, _ *program) { sender.nc.Close() },
		"end of the program of V0":       func(_, older *program) { older.nc.Close() },
		"close of the program of V0":     func(_, older *program) { older.send(relaywire.Message{Op: relaywire.Close}) },
		"violation of the program of V0": func(_, older *program) { older.nc.Write([]byte{0xff}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1<<30)
				defer w.close()
				sender, older := joining(w, 1<<20)
				defer sender.nc.Close()
				defer older.nc.Close()
				if n := w.plane.Budget.Used(); n < 1<<20 || n > 3<<20 {
					t.Fatalf("%d octets are charged for 1 MiB of 32", n)
				}
				end(sender, older)
				synctest.Wait()
				if n := w.plane.Budget.Used(); n > 512<<10 {
					t.Errorf("%d octets stay charged", n)
				}
			})
		})
	}
}

package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
)

// Peers may be named and named no longer while their source runs.
func TestPeersChangeWhileTheyAreLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []string
		s := NewStatic([]string{"192.0.2.1:1", "192.0.2.1:1", "192.0.2.2:2"}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Run(ctx, func(f Found) { heard = append(heard, fmt.Sprintf("%v keep=%v gone=%v", f.Addrs, f.Keep, f.Gone)) })
		}()
		step := func(peers []string, want ...string) {
			t.Helper()
			if peers != nil {
				s.Set(peers)
			}
			synctest.Wait()
			slices.Sort(heard)
			if !slices.Equal(heard, want) {
				t.Errorf("%v: heard %q, want %q", peers, heard, want)
			}
			heard = nil
		}
		step(nil, "[192.0.2.1:1] keep=true gone=false", "[192.0.2.2:2] keep=true gone=false")
		step([]string{"192.0.2.2:2", "192.0.2.1:1"})
		step([]string{"192.0.2.2:2", "192.0.2.3:3"}, "[192.0.2.1:1] keep=false gone=true", "[192.0.2.3:3] keep=true gone=false")
		step([]string{"[::ffff:192.0.2.2]:2", "192.0.2.2:2"}, "[192.0.2.2:2] keep=true gone=false", "[192.0.2.3:3] keep=false gone=true")
		step([]string{"[::ffff:192.0.2.2]:2"}) // another name for the same
		if got := s.Peers(); !slices.Equal(got, []string{"[::ffff:192.0.2.2]:2"}) {
			t.Errorf("Peers() = %q", got)
		}
		step([]string{}, "[192.0.2.2:2] keep=false gone=true")
		cancel()
		<-ended
	})
}

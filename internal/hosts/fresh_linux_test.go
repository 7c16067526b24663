package hosts

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/project-iris/iris"
)

// A service is asked from another host as soon as it has registered. No request is
// lost; how long they take is shown, with what they should take.
func TestFreshServiceIsAskedAtOnce(t *testing.T) {
	t.Parallel()
	const (
		services = 1000
		mostP50  = 2 * time.Millisecond
		mostP99  = 50 * time.Millisecond
	)
	n := newNetwork(t, 3, 0)
	clients := n.clients(t)
	echo := iris.HandlerFunc(func(_ context.Context, body []byte) ([]byte, error) { return body, nil })
	for i := range clients { // join before the clock runs
		cluster := fmt.Sprintf("%s on %d", secret, i)
		n.member(t, i, cluster, echo)
		for _, c := range clients {
			if _, err := c.Request(withLimit(t), cluster, nil); err != nil {
				t.Fatal(err)
			}
		}
	}

	var times []time.Duration
	for k := range services {
		on, from := k%len(clients), (k+1+k/len(clients)%2)%len(clients) // never the same, all pairs
		cluster := fmt.Sprintf("%s fresh %d", secret, k)
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		service, err := n.config(on).Register(ctx, cluster, echo)
		if err != nil {
			t.Fatal(err)
		}
		registered := time.Now()
		if _, err := clients[from].Request(ctx, cluster, []byte(secret)); err != nil {
			t.Errorf("host %d asked %s on host %d: %v", from, cluster, on, err)
		}
		times = append(times, time.Since(registered))
		cancel()
		defer service.Close()
	}
	slices.Sort(times)
	for _, q := range []struct {
		name string
		took time.Duration
		most time.Duration
	}{
		{"median", times[services/2], mostP50},
		{"99th percentile", times[services*99/100], mostP99},
		{"longest", times[services-1], limit},
	} {
		verdict := "met"
		if q.took > q.most {
			verdict = "missed"
		}
		t.Logf("%s of %d: %v after registration, at most %v: %s", q.name, services, q.took.Round(time.Microsecond), q.most, verdict)
	}
}

package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// limit bounds each wait of a test. It is far more than any needs.
const limit = 30 * time.Second

var place = sync.OnceValues(func() (*Place, error) { return NewPlace(context.Background(), "../..") })

func TestMain(m *testing.M) {
	if os.Getenv(orphansVariable) != "" {
		if err := makeOrphans(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	status := m.Run()
	if built {
		if p, err := place(); err == nil {
			p.Close()
		}
	}
	os.Exit(status)
}

// built tells that place was asked for.
var built bool

func thePlace(t *testing.T) *Place {
	t.Helper()
	built = true
	p, err := place()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newLAN makes a LAN for a test, which is skipped where that cannot be unless
// IRIS_HOSTS is set.
func newLAN(t *testing.T, hosts int) *LAN {
	t.Helper()
	l, err := New(hosts)
	if errors.Is(err, ErrUnable) && os.Getenv("IRIS_HOSTS") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func withLimit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

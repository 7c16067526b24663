package discovery_test

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/discovery/discoverytest"
)

func TestStaticConforms(t *testing.T) {
	discoverytest.Conform(t, func(*testing.T) discovery.Source {
		return discovery.NewStatic([]string{"192.0.2.1:14142", "[2001:db8::1]:7"}, slog.New(slog.DiscardHandler))
	}, netip.MustParseAddrPort("192.0.2.1:14142"), netip.MustParseAddrPort("[2001:db8::1]:7"))
}

func TestCacheConforms(t *testing.T) {
	known := netip.MustParseAddrPort("192.0.2.1:14142")
	discoverytest.Conform(t, func(t *testing.T) discovery.Source {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "peers"), []byte("iris peers 1\n"+known.String()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return &discovery.Cache{
			Dir: dir, Log: slog.New(slog.DiscardHandler),
			Alone: func() bool { return true }, Known: func() []netip.AddrPort { return nil },
		}
	}, known)
}

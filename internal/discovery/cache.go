package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/project-iris/iris/internal/localsock"
)

const (
	cacheFile   = "peers"
	cacheHead   = "iris peers 1\n"
	cacheMost   = 256 // addresses
	cacheSize   = 64 << 10
	cacheEvery  = 30 * time.Second
	offerMost   = 8 // addresses at once, as long as the node is alone
	offerEvery  = 250 * time.Millisecond
	cacheAccess = 0o600
)

// Cache is the Source of the addresses that other nodes had when this one last knew
// some. It keeps them in a file, one node at a time: one that cannot have it goes
// without.
type Cache struct {
	Dir   string // the node's own
	Log   *slog.Logger
	Alone func() bool
	Known func() []netip.AddrPort // where other nodes are now, always in the same order
}

// Name implements Source.
func (c *Cache) Name() string { return "cache" }

// Run implements Source.
func (c *Cache) Run(ctx context.Context, found func(Found)) error {
	lock, err := localsock.Lock(filepath.Join(c.Dir, cacheFile+".lock"))
	if err != nil {
		return fmt.Errorf("the addresses of other nodes are not kept in %s: %w", c.Dir, err)
	}
	defer lock.Close()
	kept, err := c.load()
	if err != nil {
		c.Log.Warn("the addresses that other nodes had are lost; they are gathered anew", "error", err)
	}
	saved := slices.Clone(kept)
	t := time.NewTicker(cacheEvery)
	defer t.Stop()
	for {
		c.offer(ctx, kept, found)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		kept = merge(c.Known(), kept)
		if !slices.Equal(kept, saved) {
			if err := c.save(kept); err != nil {
				return fmt.Errorf("keep the addresses of other nodes: %w", err)
			}
			saved = kept
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// offer hands over addresses, a few at a time, until the node has others.
func (c *Cache) offer(ctx context.Context, kept []netip.AddrPort, found func(Found)) {
	for i, a := range kept {
		if i > 0 && i%offerMost == 0 {
			select {
			case <-time.After(offerEvery):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil || !c.Alone() {
			return
		}
		found(Found{Addrs: []netip.AddrPort{a}})
	}
}

// merge returns what is known now, then what was before, as far as there is room.
func merge(known, before []netip.AddrPort) (all []netip.AddrPort) {
	seen := make(map[netip.AddrPort]bool)
	for _, a := range slices.Concat(known, before) {
		if !seen[a] && a.IsValid() && len(all) < cacheMost {
			seen[a] = true
			all = append(all, a)
		}
	}
	return all
}

// load reads the file. One that is damaged is as good as none.
func (c *Cache) load() ([]netip.AddrPort, error) {
	path := filepath.Join(c.Dir, cacheFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, cacheSize+1))
	if err != nil {
		return nil, err
	}
	all, err := parseCache(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

func parseCache(b []byte) (all []netip.AddrPort, err error) {
	rest, ok := bytes.CutPrefix(b, []byte(cacheHead))
	if !ok || len(b) > cacheSize {
		return nil, errors.New("not a list of addresses of this version")
	}
	for len(rest) > 0 {
		line, more, ok := bytes.Cut(rest, []byte("\n"))
		a, err := netip.ParseAddrPort(string(line))
		if err != nil || !ok || len(all) == cacheMost {
			return nil, fmt.Errorf("address %d is damaged", len(all)+1)
		}
		all, rest = append(all, a), more
	}
	return all, nil
}

func appendCache(b []byte, all []netip.AddrPort) []byte {
	b = append(b, cacheHead...)
	for _, a := range all {
		b = append(a.AppendTo(b), '\n')
	}
	return b
}

// save puts a new file into the place of the old one, so that there is always one
// that is whole. The lock is held.
func (c *Cache) save(all []netip.AddrPort) error {
	path := filepath.Join(c.Dir, cacheFile)
	if err := os.WriteFile(path+".new", appendCache(nil, all), cacheAccess); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

var _ Source = (*Cache)(nil)

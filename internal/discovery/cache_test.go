package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/localsock"
)

// A cacheRun is a node's cache at work.
type cacheRun struct {
	log   strings.Builder
	mu    sync.Mutex
	alone bool
	known []netip.AddrPort
	found []netip.AddrPort
	err   error
	stop  func()
}

func runCache(dir string, known ...netip.AddrPort) *cacheRun {
	ctx, cancel := context.WithCancel(context.Background())
	r := &cacheRun{alone: len(known) == 0, known: known}
	c := &Cache{
		Dir: dir, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		Alone: func() bool { alone, _ := r.others(); return alone },
		Known: func() []netip.AddrPort { _, known := r.others(); return known },
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.err = c.Run(ctx, func(f Found) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.found = append(r.found, f.Addrs...)
		})
	}()
	r.stop = func() { cancel(); <-done }
	return r
}

func (r *cacheRun) others() (alone bool, known []netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alone, r.known
}

// got returns what was found so far.
func (r *cacheRun) got() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.found)
}

// meet lets the node have others.
func (r *cacheRun) meet(known []netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alone, r.known = false, known
}

func someAddrs(n int) (all []netip.AddrPort) {
	for i := range n {
		all = append(all, away(i+1))
	}
	return all
}

func TestNodesOfLastTimeAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := runCache(dir, someAddrs(20)...)
		time.Sleep(time.Hour)
		first.stop()
		if len(first.got()) > 0 || first.err != nil || first.log.Len() > 0 {
			t.Errorf("a node that has others found %v, %v, %s", first.got(), first.err, &first.log)
		}
		info, err := os.Stat(filepath.Join(dir, cacheFile))
		if err != nil || info.Mode().Perm() != cacheAccess {
			t.Errorf("the file is %v, %v", info, err)
		}

		next := runCache(dir)
		time.Sleep(offerEvery / 2)
		synctest.Wait()
		if !slices.Equal(next.got(), someAddrs(offerMost)) {
			t.Errorf("at once %v are found", next.got())
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !slices.Equal(next.got(), someAddrs(20)) {
			t.Errorf("in the end %v are found", next.got())
		}
		time.Sleep(cacheEvery)
		synctest.Wait()
		if len(next.got()) != 40 {
			t.Errorf("a node that stays alone found %d addresses, want 20 again", len(next.got()))
		}
		next.meet(someAddrs(30)[28:])
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(next.got()) != 40 {
			t.Error("a node that has others searches on")
		}
		next.stop()

		last := runCache(dir)
		time.Sleep(10 * time.Second)
		last.stop()
		if want := append(someAddrs(30)[28:], someAddrs(20)...); !slices.Equal(last.got(), want) {
			t.Errorf("found %v, want %v: the latest first, nothing lost", last.got(), want)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	all := someAddrs(3 * cacheMost)
	if got := merge(all[:10], all); len(got) != cacheMost || !slices.Equal(got, all[:cacheMost]) {
		t.Errorf("%d addresses are kept of %d", len(got), len(all))
	}
	if _, err := parseCache(appendCache(nil, all)); err == nil {
		t.Error("a file with too many addresses is taken")
	}
}

func TestDamagedCacheIsStartedAnew(t *testing.T) {
	good := appendCache(nil, someAddrs(3))
	for _, content := range [][]byte{
		{}, []byte("iris peers 2\n"), good[:len(good)-1], append(slices.Clone(good), "nonsense\n"...),
		bytes.Repeat([]byte("x"), 10<<20), append(slices.Clone(good), 0),
	} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, cacheFile)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			r := runCache(dir)
			time.Sleep(time.Second)
			r.meet(someAddrs(2))
			time.Sleep(2 * cacheEvery)
			r.stop()
			if len(r.got()) > 0 || r.err != nil || !strings.Contains(r.log.String(), "gathered anew") {
				t.Errorf("%.40q: found %v, %v, %s", content, r.got(), r.err, &r.log)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, appendCache(nil, someAddrs(2))) {
				t.Errorf("%.40q is followed by %q, %v", content, got, err)
			}
		})
	}
}

func TestCacheOfAnotherNodeIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	lock, err := localsock.Lock(filepath.Join(dir, cacheFile+".lock"))
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	r := runCache(dir, someAddrs(1)...)
	r.stop()
	if r.err == nil || !strings.Contains(fmt.Sprint(r.err), dir) {
		t.Errorf("error %v", r.err)
	}
	if _, err := os.Stat(filepath.Join(dir, cacheFile)); err == nil {
		t.Error("the file was written without the lock")
	}
}

func FuzzParseCache(f *testing.F) {
	f.Add(appendCache(nil, someAddrs(3)))
	f.Add([]byte(cacheHead + "[fe80::1%eth0]:1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseCache(b)
		if err != nil {
			return
		}
		again, err := parseCache(appendCache(nil, all))
		if err != nil || !slices.Equal(all, again) {
			t.Errorf("%q is read as %v, and then as %v, %v", b, all, again, err)
		}
	})
}

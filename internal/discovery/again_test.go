package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A source looks often while the node is alone, seldom when not, and soon when it is alone
// again.
func TestLookingAgainKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var alone atomic.Bool
		var looks atomic.Int32
		alone.Store(true)
		l := &looker{
			trouble: &trouble{}, by: "test", log: slog.New(slog.DiscardHandler),
			isAlone: alone.Load, least: dnsLeast, alone: dnsAlone, most: dnsMost,
			look: func(context.Context) ([]netip.AddrPort, error) { looks.Add(1); return nil, errNobody },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.run(ctx, func(Found) {})
		}()
		within := func(d time.Duration, least, most int32) {
			t.Helper()
			looks.Store(0)
			time.Sleep(d)
			synctest.Wait()
			if n := looks.Load(); n < least || n > most {
				t.Errorf("%d looks in %v, want %d to %d", n, d, least, most)
			}
		}
		within(10*time.Second, 3, 6)
		within(time.Minute, 2, 6)
		within(time.Hour, 90, 180)
		alone.Store(false)
		within(time.Hour, 9, 24)
		alone.Store(true)
		within(10*time.Second, 1, 6)
		cancel()
		<-ended
	})
}

func TestLogHasATroubleOnceForEachCause(t *testing.T) {
	var log strings.Builder
	var tr trouble
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for i := range 10 {
		tr.note(logger, "test", fmt.Errorf("read udp 127.0.0.1:%d: nobody answers", 40000+i))
	}
	tr.note(logger, "test", errors.New("another"))
	tr.note(logger, "test", nil)
	tr.note(logger, "test", nil)
	if failed, now := tr.Trouble(); failed != 11 || now != nil {
		t.Errorf("it failed %d times, and now %v", failed, now)
	}
	if n := strings.Count(log.String(), "\n"); n != 3 || !strings.Contains(log.String(), "works again") {
		t.Errorf("the log is\n%s", &log)
	}
}

func TestAddressesThatPeopleWrite(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1":            "10.0.0.1 0",
		"10.0.0.1:7":          "10.0.0.1 7",
		"fd77::1":             "fd77::1 0",
		"[fd77::1]":           "fd77::1 0",
		"[fd77::1]:65535":     "fd77::1 65535",
		"fe80::1%eth0":        "fe80::1%eth0 0",
		"a.example":           "a.example 0",
		"_iris._tcp.example.": "_iris._tcp.example. 0",
		"a.example.:7":        "a.example. 7",
		"":                    "", ".": "", ":7": "", "a:": "", "a:0": "", "a:65536": "", "a:b:c": "", "a b": "", "a..b": "", "a\x00": "", "[a]": "",
		"http://a": "", "a/b": "", strings.Repeat("a", 64): "", strings.Repeat("a.", 127) + "a": "",
	} {
		host, port, err := SplitHostPort(text)
		if got := fmt.Sprint(host, " ", port); err == nil && got != want || err != nil && want != "" {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
		}
	}
}

func FuzzSplitHostPort(f *testing.F) {
	f.Add("10.0.0.1:7")
	f.Add("[fd77::1]")
	f.Add("a.example:14142")
	f.Fuzz(func(t *testing.T, text string) {
		host, port, err := SplitHostPort(text)
		if err != nil {
			return
		}
		again, _, err := SplitHostPort(host)
		if again != host || err != nil || port == 0 && strings.Trim(text, "[]") != host {
			t.Errorf("%q is %q and %d; the host is %q, %v", text, host, port, again, err)
		}
	})
}

package session

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// documented are the codes of docs/security.md, and whether they are quiet.
var documented = map[string]bool{
	"knock_none": true, "knock_key": true, "knock_version": false, "knock_time": false, "knock_replay": true, "knock_self": true,
	"packet_key": true, "packet_version": false, "packet_time": false, "packet_replay": true, "packet_size": true,
	"packet_self": true, "packet_form": false, "packet_rate": false, "answer_rate": true, "address_refused": false,
	"dial_refused": true, "dial_timeout": true, "dial_closed": false,
	"accept_full": false, "accept_files": false, "tls_failed": true, "tls_time": false, "tls_bytes": false,
	"peer_version": false, "peer_alpn": false, "peer_chain": false, "peer_leaf": false, "peer_trust": false,
	"peer_time": false, "peer_tag": false, "peer_self": true, "peer_other": false,
	"welcome_tie": true, "welcome_full": true, "welcome_leaving": true, "first_frame": false,
	"link_unknown": true, "link_full": false, "handle_unknown": false, "key_limit": true,
	"attach_unknown": false, "attach_peer": false, "attach_full": false, "attach_time": false, "tunnel_full": false,
	"unix_peer": false, "relay_full": false, "relay_names": false, "relay_pending": false, "relay_parked": false,
	"stream_full": false, "watch_full": false,
	"http_full": false, "http_host": false, "http_origin": false, "http_token": false,
}

func TestEveryRefusalHasACode(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			if typ, ok := s.(*ast.ValueSpec).Type.(*ast.Ident); ok && typ.Name == "Code" {
				constants++
			}
		}
	}
	codes := Codes()
	if len(codes) != constants || len(codes) != len(documented) {
		t.Errorf("%d codes have a meaning, %d constants, %d in the document", len(codes), constants, len(documented))
	}
	meanings := map[string]bool{}
	for _, c := range codes {
		quiet, ok := documented[string(c)]
		if !ok || quiet != c.Quiet() {
			t.Errorf("%s: documented %t, quiet %t, want %t", c, ok, c.Quiet(), quiet)
		}
		if c.Meaning() == "" || c.Hint() == "" || meanings[c.Meaning()] {
			t.Errorf("%s means %q, hint %q", c, c.Meaning(), c.Hint())
		}
		meanings[c.Meaning()] = true
	}
}

func TestErrorTellsItsCode(t *testing.T) {
	cause := errors.New("cause")
	err := error(&Error{PeerTag, cause})
	if err.Error() != "cause (peer_tag)" || !errors.Is(err, cause) {
		t.Errorf("error %q", err)
	}
	hasParts(t, &Error{PeerTag, nil}, "another name of the network (peer_tag)")
}

// A ledger is Refusals in invented time, and what they log.
type ledger struct {
	*Refusals
	now time.Time
	log bytes.Buffer
}

func newLedger() *ledger {
	l := &ledger{now: time.UnixMilli(1735689600000)}
	log := slog.New(slog.NewTextHandler(&l.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if slices.Contains([]string{slog.TimeKey, "hint"}, a.Key) {
			return slog.Attr{}
		}
		return a
	}}))
	l.Refusals = NewRefusals(log, func() time.Time { return l.now })
	return l
}

// lines returns what was logged since it was last called.
func (l *ledger) lines() []string {
	defer l.log.Reset()
	return slices.DeleteFunc(strings.Split(l.log.String(), "\n"), func(s string) bool { return s == "" })
}

func TestWarningComesOnceForAnAddress(t *testing.T) {
	l := newLedger()
	l.Refuse(PeerTag, "192.0.2.1", ring.ID{}, nil)
	want := []string{`level=WARN msg="refused: the peer has the network key, and another name of the network" code=peer_tag address=192.0.2.1`}
	if got := l.lines(); !slices.Equal(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
	l.now = l.now.Add(time.Second)
	l.Refuse(PeerTag, "192.0.2.1", ring.ID{}, nil)
	if got := l.lines(); len(got) > 0 {
		t.Errorf("a second later: %q", got)
	}
	l.Refuse(PeerTag, "192.0.2.2", ring.ID{}, nil)
	l.Refuse(PeerLeaf, "192.0.2.1", ring.ID{Hi: 1}, errors.New("it is bent"))
	got := l.lines()
	if len(got) != 2 || !strings.Contains(got[1], `error="it is bent" node=0000000000000001`) {
		t.Errorf("another address, another code: %q", got)
	}
	l.now = l.now.Add(10*time.Minute - time.Second)
	l.Refuse(PeerTag, "192.0.2.1", ring.ID{}, nil)
	if got := l.lines(); len(got) != 1 {
		t.Errorf("after ten minutes: %q", got)
	}
}

func TestTotalsComeOnceAMinute(t *testing.T) {
	l := newLedger()
	for range 5 {
		l.Refuse(KnockNone, "192.0.2.1", ring.ID{}, nil)
	}
	l.Refuse(PeerTag, "192.0.2.1", ring.ID{}, nil)
	l.Refuse(PeerTag, "192.0.2.1", ring.ID{}, nil)
	l.lines()
	l.now = l.now.Add(time.Minute)
	l.Refuse(KnockKey, "192.0.2.1", ring.ID{}, nil)
	want := []string{`level=INFO msg="refused, without a line for each" knock_key=1 knock_none=5 peer_tag=1`}
	if got := l.lines(); !slices.Equal(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
	l.now = l.now.Add(59 * time.Second)
	l.Refuse(KnockNone, "192.0.2.1", ring.ID{}, nil)
	if got := l.lines(); len(got) > 0 {
		t.Errorf("within the next minute: %q", got)
	}
}

// Strangers choose their addresses, those of packets even freely.
func TestFloodOfAddressesIsNoFloodOfLines(t *testing.T) {
	l := newLedger()
	for n := range 10_000 {
		l.Refuse(PacketRate, host(n), ring.ID{}, nil)
	}
	l.Refuse(PeerTime, "192.0.2.1", ring.ID{}, nil)
	if got := l.lines(); len(got) != maxWarned+1 || !strings.Contains(got[maxWarned], "peer_time") {
		t.Errorf("%d lines", len(got))
	}
	l.now = l.now.Add(warnEvery)
	l.Refuse(PacketRate, "192.0.2.1", ring.ID{}, nil)
	if got := l.lines(); len(got) != 1 || !strings.Contains(got[0], "WARN") {
		t.Errorf("later: %q", got)
	}
	if n := len(l.warned[PacketRate]); n != 1 {
		t.Errorf("%d addresses are remembered", n)
	}
	if n := l.Counts()[PacketRate]; n != 10_001 {
		t.Errorf("%d are counted", n)
	}
}

func TestLastRefusalsAreKept(t *testing.T) {
	l := newLedger()
	for n := range 300 {
		l.now = l.now.Add(time.Second)
		l.Refuse(KnockKey, host(n), ring.ID{Lo: uint64(n)}, nil)
		last := l.Last()
		if got, want := last[len(last)-1], (Refusal{l.now, KnockKey, host(n), ring.ID{Lo: uint64(n)}, nil}); got != want {
			t.Fatalf("the last is %+v, want %+v", got, want)
		}
	}
	last := l.Last()
	if len(last) != keptRefusals || last[0].Addr != host(300-keptRefusals) {
		t.Errorf("%d are kept, from %v on", len(last), last[0].Addr)
	}
	if !slices.IsSortedFunc(last, func(a, b Refusal) int { return a.At.Compare(b.At) }) {
		t.Error("they are not in order")
	}
}

func TestSecretsAreNeverLogged(t *testing.T) {
	var log bytes.Buffer
	var secrets [][]byte
	synctest.Test(t, func(t *testing.T) {
		node := identity(t, "net", 1, 2)
		s := openSite(t, node)
		var salts [][]byte
		dial := func(i *Identity, change func(*tls.Config)) {
			nc, _ := s.connect(t, "192.0.2.66")
			tap := &tapped{Conn: nc}
			forger{i, change}.dial(tap)
			synctest.Wait()
			salts = append(salts, tap.writes[0][:saltSize], tap.writes[0][:knockSize])
			nc, _ = s.connect(t, "192.0.2.66")
			nc.Write(tap.writes[0]) // a replay
			synctest.Wait()
			nc.Close()
		}
		off := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
		dial(identity(t, "net", 9), nil)
		dial(identity(t, "other", 1), nil)
		dial(identityAt(t, off(30*time.Hour), "net", 1), nil)
		dial(thief(t, "net", 9), nil)
		dial(identity(t, "net", 1), func(c *tls.Config) { c.NextProtos = nil })
		dial(identity(t, "net", 1), func(c *tls.Config) {
			c.MaxVersion, c.MinVersion, c.CurvePreferences = tls.VersionTLS12, tls.VersionTLS12, nil
		})
		dial(shaped(func(c *x509.Certificate) { c.IsCA = true })(t, node).Identity, nil)
		dial(node, nil)
		nc, _ := s.connect(t, "192.0.2.67")
		c, err := identity(t, "net", 1).Dial(t.Context(), nc, PurposeLink, 1, ring.ID{})
		if err != nil {
			t.Fatal(err)
		}
		echo(t, c)
		nc.Close()
		if n := len(s.Refused.Counts()); n < 7 {
			t.Errorf("only %d kinds of refusals were logged: %v", n, s.Refused.Counts())
		}
		log.Write(s.log.Bytes())

		// Nor does printing show them, however it is done.
		handlers := []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)}
		for _, v := range []any{node, node.trusts().Credential, *node.trusts().Credential, node.trusts().Anchors, networkKey(t, 1), s.Refused.Last()} {
			fmt.Fprintf(&log, "%v %+v %#v %s\n", v, v, v, v)
			for _, h := range handlers {
				slog.New(h).Info("value", "v", v)
			}
			b, _ := json.Marshal(v)
			log.Write(b)
		}

		for _, seed := range []byte{1, 2, 9} {
			k := networkKey(t, seed)
			secret := k.Secret("net")
			secrets = append(secrets, k.ikm[:], secret[:], derive(secret, nil, "iris/tag/1"))
		}
		secrets = append(secrets, node.key.Seed(), node.key)
		secrets = append(secrets, salts...)
	})

	text := log.String()
	for _, secret := range secrets {
		decimals := strings.Trim(fmt.Sprint(secret), "[]")
		goSyntax := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}")
		for _, form := range []string{
			string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
			base64.StdEncoding.EncodeToString(secret), base64.RawStdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
			decimals, strings.ReplaceAll(decimals, " ", ","), goSyntax,
		} {
			if strings.Contains(text, form) {
				t.Errorf("a secret shows as %q", form)
			}
		}
	}
	if !strings.Contains(text, "192.0.2.66") || !strings.Contains(text, networkKey(t, 1).Fingerprint()) {
		t.Error("the log is not the one that was meant")
	}
}

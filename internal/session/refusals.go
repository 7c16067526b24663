package session

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/project-iris/iris/internal/ring"
)

// A Code says why somebody was refused. Codes are part of the log, the counters and
// what an operator reads (docs/security.md, Refusals).
type Code string

// The codes of connections between nodes.
const (
	KnockNone    Code = "knock_none"
	KnockKey     Code = "knock_key"
	KnockVersion Code = "knock_version"
	KnockTime    Code = "knock_time"
	KnockReplay  Code = "knock_replay"
	KnockSelf    Code = "knock_self"

	PacketKey      Code = "packet_key"
	PacketVersion  Code = "packet_version"
	PacketTime     Code = "packet_time"
	PacketReplay   Code = "packet_replay"
	PacketSize     Code = "packet_size"
	PacketSelf     Code = "packet_self"
	PacketForm     Code = "packet_form"
	PacketRate     Code = "packet_rate"
	AnswerRate     Code = "answer_rate"
	AddressRefused Code = "address_refused"

	DialRefused Code = "dial_refused"
	DialTimeout Code = "dial_timeout"
	DialClosed  Code = "dial_closed"
	TLSFailed   Code = "tls_failed"
	TLSTime     Code = "tls_time"
	TLSBytes    Code = "tls_bytes"

	PeerVersion Code = "peer_version"
	PeerALPN    Code = "peer_alpn"
	PeerChain   Code = "peer_chain"
	PeerLeaf    Code = "peer_leaf"
	PeerTrust   Code = "peer_trust"
	PeerTime    Code = "peer_time"
	PeerTag     Code = "peer_tag"
	PeerSelf    Code = "peer_self"
	PeerOther   Code = "peer_other"

	WelcomeTie     Code = "welcome_tie"
	WelcomeFull    Code = "welcome_full"
	WelcomeLeaving Code = "welcome_leaving"
	FirstFrame     Code = "first_frame"
	LinkUnknown    Code = "link_unknown"
	LinkFull       Code = "link_full"
	HandleUnknown  Code = "handle_unknown"
	KeyLimit       Code = "key_limit"

	AttachUnknown Code = "attach_unknown"
	AttachPeer    Code = "attach_peer"
	AttachFull    Code = "attach_full"
	AttachTime    Code = "attach_time"
	TunnelFull    Code = "tunnel_full"

	AcceptFull  Code = "accept_full"
	AcceptFiles Code = "accept_files"
	UnixPeer    Code = "unix_peer"
	RelayFull   Code = "relay_full"
	StreamFull  Code = "stream_full"
	WatchFull   Code = "watch_full"
)

// quiet are the codes that are nobody's fault, or that any stranger can cause: they
// are logged as totals. The hint says what an operator may do about a code.
var quiet = map[Code]bool{
	KnockNone: true, KnockKey: true, PacketKey: true, KnockReplay: true, PacketReplay: true, PacketSize: true,
	KnockSelf: true, PacketSelf: true, AnswerRate: true, DialRefused: true, DialTimeout: true, TLSFailed: true,
	PeerSelf: true, WelcomeTie: true, WelcomeFull: true, WelcomeLeaving: true, LinkUnknown: true, KeyLimit: true,
}

var hints = map[Code]string{
	KnockNone:      "a port scan or health check; nothing to do",
	KnockKey:       "a node of another network or with another key: compare name and fingerprint, or a stranger",
	KnockVersion:   "newer software: update this node",
	KnockTime:      "the network key is right, but a clock is off: set it",
	KnockReplay:    "a recorded connection was played back",
	KnockSelf:      "this node dialled itself",
	DialRefused:    "nothing listens there: is the node up, is the port right?",
	DialTimeout:    "nothing answers: look at firewalls on the way",
	DialClosed:     "the other side closed before TLS: its log has knock_* or accept_* for it",
	TLSFailed:      "the handshake broke off",
	TLSTime:        "the handshake took too long, or too many came at once",
	TLSBytes:       "more than 16 KiB came before the handshake was complete",
	PeerVersion:    "another TLS or key exchange: update, and leave GODEBUG alone",
	PeerALPN:       "not a node of this protocol",
	PeerChain:      "not a certificate of a node",
	PeerLeaf:       "not a certificate of a node",
	PeerTrust:      "the certificate is of another network key: was a round of a roll-over skipped?",
	PeerTime:       "set the clocks of both hosts right",
	PeerTag:        "the key is the same, the network's name is not",
	PeerSelf:       "this node dialled itself",
	PeerOther:      "another node has taken over the address",
	WelcomeTie:     "both dialled at once; the other connection stands",
	WelcomeFull:    "the other node has as many links as it may: raise its descriptor limit",
	WelcomeLeaving: "the other node is shutting down",
	FirstFrame:     "the peer broke the protocol: update the older of the two",
	LinkUnknown:    "the link was gone before its data connection came",
	LinkFull:       "as many links as there may be: raise the descriptor limit",
	HandleUnknown:  "the peer broke the protocol: update the older of the two",
	KeyLimit:       "a connection was replaced by a fresh one",
	AttachUnknown:  "no such tunnel was agreed on",
	AttachPeer:     "the tunnel was agreed on with another node",
	AttachFull:     "too many tunnels wait to be opened",
	AttachTime:     "the tunnel was not opened in time",
	TunnelFull:     "as many tunnels as there may be: raise the descriptor limit",
	AcceptFull:     "too many connections wait: a flood, or many nodes starting at once",
	AcceptFiles:    "out of descriptors: raise the limit",
	AddressRefused: "a node told an address that nobody dials on another's word",
}

// Hint says what an operator may do about c.
func (c Code) Hint() string { return hints[c] }

// An Error is why a connection did not come about.
type Error struct {
	Code Code
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%v (%s)", e.Err, e.Code) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// A Refusal is one that is remembered.
type Refusal struct {
	At   time.Time `json:"at"`
	Code Code      `json:"code"`
	Addr string    `json:"addr"`
	Peer ring.ID   `json:"-"`
}

const (
	keptRefusals = 256
	warnEvery    = 10 * time.Minute
	warnPairs    = 1024 // of code and address that are remembered as warned of
)

// Refusals counts who was refused, by why, remembers the last 256, and logs them:
// what an operator should look at once in ten minutes for each address, the rest as
// totals once a minute. Safe for concurrent use.
type Refusals struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	counts map[Code]uint64
	last   []Refusal // a ring
	next   int
	warned map[warning]time.Time
	totals map[Code]int // since told
	told   time.Time
}

type warning struct {
	code Code
	addr string
}

// NewRefusals returns a list without entries that logs to log. Times are now's.
func NewRefusals(log *slog.Logger, now func() time.Time) *Refusals {
	return &Refusals{
		log: log, now: now,
		counts: make(map[Code]uint64),
		warned: make(map[warning]time.Time),
		totals: make(map[Code]int),
		told:   now(),
	}
}

// Refuse notes that somebody at addr, a host without its port, was refused for err.
// The peer is zero unless it proved who it is.
func (r *Refusals) Refuse(code Code, addr string, peer ring.ID, err error) {
	now := r.now()
	r.mu.Lock()
	r.counts[code]++
	refusal := Refusal{now, code, addr, peer}
	if len(r.last) < keptRefusals {
		r.last = append(r.last, refusal)
	} else {
		r.last[r.next] = refusal
		r.next = (r.next + 1) % keptRefusals
	}
	var totals map[Code]int
	warn := false
	if quiet[code] {
		r.totals[code]++
		if now.Sub(r.told) >= time.Minute {
			totals, r.totals, r.told = r.totals, make(map[Code]int), now
		}
	} else {
		w := warning{code, addr}
		if at, ok := r.warned[w]; !ok || now.Sub(at) >= warnEvery {
			if len(r.warned) >= warnPairs {
				clear(r.warned)
			}
			r.warned[w], warn = now, true
		}
	}
	r.mu.Unlock()

	args := []any{"code", code, "address", addr, "error", err, "hint", code.Hint()}
	if !peer.IsZero() {
		args = append(args, "peer", peer)
	}
	switch {
	case warn:
		r.log.Warn("a connection was refused", args...)
	case totals != nil:
		r.log.Info("connections were refused in the last minute", "by code", totals)
		fallthrough
	default:
		r.log.Debug("a connection was refused", args...)
	}
}

// Counts returns how often each code was counted.
func (r *Refusals) Counts() map[Code]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[Code]uint64, len(r.counts))
	for c, n := range r.counts {
		out[c] = n
	}
	return out
}

// Last returns the latest refusals, oldest first.
func (r *Refusals) Last() []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(append([]Refusal(nil), r.last[r.next:]...), r.last[:r.next]...)
}

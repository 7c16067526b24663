package session

import (
	"fmt"
	"maps"
	"slices"
)

// A Code says why somebody was refused. Codes are part of the log, the counters and
// what an operator reads (docs/security.md, Refusals).
type Code string

// The codes there are; Meaning and Hint say what each is about.
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
	AcceptFull  Code = "accept_full"
	AcceptFiles Code = "accept_files"
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

	UnixPeer     Code = "unix_peer"
	RelayFull    Code = "relay_full"
	RelayNames   Code = "relay_names"
	RelayPending Code = "relay_pending"
	RelayParked  Code = "relay_parked"
	StreamFull   Code = "stream_full"
	WatchFull    Code = "watch_full"

	HTTPFull   Code = "http_full"
	HTTPHost   Code = "http_host"
	HTTPOrigin Code = "http_origin"
	HTTPToken  Code = "http_token"
)

// A kind of refusal: what it means, and what an operator may do about it.
type refusalKind struct {
	quiet         bool
	meaning, hint string
}

const (
	quiet = true
	loud  = false
)

var kinds = map[Code]refusalKind{
	KnockNone:    {quiet, "no knock came", "a port scan or a health check; nothing to do"},
	KnockKey:     {quiet, "no accepted key opens the knock", "another network or key: compare name and fingerprint at both ends; in a roll-over, finish each round first"},
	KnockVersion: {loud, "a knock of an unknown version or purpose", "the other node is newer: update this one"},
	KnockTime:    {loud, "a knock with the right key, but a clock is off by more than 26 h", "set the clocks of both hosts"},
	KnockReplay:  {quiet, "a knock that came before", "a recorded connection was played back; nothing to do"},
	KnockSelf:    {quiet, "a knock of this node itself", "it dialled an address of its own; nothing to do"},

	PacketKey:      {quiet, "no accepted key opens the packet", "another network or key: compare name and fingerprint at both ends; in a roll-over, finish each round first"},
	PacketVersion:  {loud, "a packet of an unknown version or kind", "the other node is newer: update this one"},
	PacketTime:     {loud, "a packet with the right key, but a clock is off by more than 26 h", "set the clocks of both hosts"},
	PacketReplay:   {quiet, "a packet that came before", "the network repeats packets, or somebody plays them back; nothing to do"},
	PacketSize:     {quiet, "a packet of another size", "another program uses the port; nothing to do"},
	PacketSelf:     {quiet, "a packet of this node itself", "multicast comes back to its sender; nothing to do"},
	PacketForm:     {loud, "a malformed packet of a member", "update the older of the two nodes"},
	PacketRate:     {loud, "more packets than are opened", "a flood: look who sends them"},
	AnswerRate:     {quiet, "more questions than are answered", "many nodes start at once, or questions are played back; nothing to do"},
	AddressRefused: {loud, "a node told an address that nobody dials on another's word", "let that node advertise addresses that others reach"},

	DialRefused: {quiet, "nothing listens at the address", "is the node up, is the port right?"},
	DialTimeout: {quiet, "nothing answers at the address", "look at the firewalls on the way"},
	DialClosed:  {loud, "the other side closed before TLS", "see its log for this address: knock_* or accept_*"},
	AcceptFull:  {loud, "too many connections wait to be let in", "a flood, or very many nodes starting at once"},
	AcceptFiles: {loud, "no descriptor is left", "raise the limit of open files"},
	TLSFailed:   {quiet, "the handshake broke off", "see the log of the other side"},
	TLSTime:     {loud, "the handshake was not complete in time", "a slow network or host, or too many handshakes at once"},
	TLSBytes:    {loud, "too many octets before the handshake was complete", "no node sends as much: find out who does"},

	PeerVersion: {loud, "the peer does not speak TLS 1.3 with X25519MLKEM768", "update the peer, and leave tlsmlkem out of its GODEBUG"},
	PeerALPN:    {loud, "the peer does not speak the protocol of nodes", "update the older of the two nodes"},
	PeerChain:   {loud, "the peer sent other than one small certificate", "no node does: find out what has the network key"},
	PeerLeaf:    {loud, "the peer's certificate has not the form of a node's", "no node makes such: find out what has the network key"},
	PeerTrust:   {loud, "no accepted network key signed the peer's certificate", "another network key; in a roll-over, finish each round first"},
	PeerTime:    {loud, "the peer's certificate is right but for its dates", "set the clocks of both hosts"},
	PeerTag:     {loud, "the peer has the network key, and another name of the network", "give all nodes the same --net"},
	PeerSelf:    {quiet, "the peer is this node itself", "it dialled an address of its own; nothing to do"},
	PeerOther:   {loud, "another node than expected is at the address", "a node was started anew there; nothing to do if it was"},

	WelcomeTie:     {quiet, "both nodes dialled at once, and the other connection stands", "nothing to do"},
	WelcomeFull:    {quiet, "the other node has as many links as it may", "raise its limit of open files if it happens often"},
	WelcomeLeaving: {quiet, "the other node is shutting down", "nothing to do"},
	FirstFrame:     {loud, "the first frame is not what it must be", "update the older of the two nodes"},
	LinkUnknown:    {quiet, "the link of a connection is gone", "nothing to do: the link is dialled anew"},
	LinkFull:       {loud, "as many links as there may be", "raise the limit of open files"},
	HandleUnknown:  {loud, "the peer named what it had not defined", "update the older of the two nodes"},
	KeyLimit:       {quiet, "a connection had its time or its octets", "nothing to do: it is replaced"},

	AttachUnknown: {loud, "no such tunnel was agreed on", "its time was over, or somebody tries"},
	AttachPeer:    {loud, "the tunnel was agreed on with another node", "find out what that node runs"},
	AttachFull:    {loud, "too many tunnels wait to be opened", "programs build tunnels faster than they come about"},
	AttachTime:    {loud, "the tunnel was not opened in time", "a firewall between the nodes, or a slow host"},
	TunnelFull:    {loud, "as many tunnels as there may be", "raise the limit of open files"},

	UnixPeer:     {loud, "a user of the host who may not use the socket", "allow the user with --socket-uid, or leave it"},
	RelayFull:    {loud, "as many programs as there may be", "raise the limit of open files, or stop some"},
	RelayNames:   {loud, "a program subscribes to too many names", "use fewer names, or more connections"},
	RelayPending: {loud, "a program has too many requests under way", "let it wait for answers before it asks on"},
	RelayParked:  {loud, "too much waits for a program to take it", "the program is too slow for what it is sent"},
	StreamFull:   {loud, "too many streams of messages", "fewer names, or fewer nodes that use each"},
	WatchFull:    {loud, "too many nodes watch a name", "nothing to do: they ask again now and then"},

	HTTPFull:   {loud, "more than an admin connection may take", "close some pages or scripts, or see what the error says they send"},
	HTTPHost:   {loud, "a request for another host name", "use the address, or allow the name with --admin-host"},
	HTTPOrigin: {loud, "a request of another site's page", "a page elsewhere tried to use the admin port"},
	HTTPToken:  {loud, "a request without the token", "send the token in the state directory"},
}

// Codes returns all codes, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(kinds)) }

// Meaning says what c is about.
func (c Code) Meaning() string { return kinds[c].meaning }

// Hint says what an operator may do about c.
func (c Code) Hint() string { return kinds[c].hint }

// Quiet reports whether c is what any stranger can cause, or nobody's fault. Such
// refusals are logged as totals.
func (c Code) Quiet() bool { return kinds[c].quiet }

// An Error is why a connection did not come about. Err may be nil where the code
// says it all.
type Error struct {
	Code Code
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s (%s)", e.Code.Meaning(), e.Code)
	}
	return fmt.Sprintf("%v (%s)", e.Err, e.Code)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// refuse returns an Error with the text.
func refuse(c Code, format string, args ...any) *Error {
	return &Error{c, fmt.Errorf(format, args...)}
}

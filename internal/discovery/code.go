package discovery

// A Code says why something was refused (docs/security.md, Refusals).
type Code string

// The codes of packets.
const (
	CodePacketSize     Code = "packet_size"
	CodePacketRate     Code = "packet_rate"
	CodePacketKey      Code = "packet_key"
	CodePacketVersion  Code = "packet_version"
	CodePacketForm     Code = "packet_form"
	CodePacketTime     Code = "packet_time"
	CodePacketReplay   Code = "packet_replay"
	CodePacketSelf     Code = "packet_self"
	CodeAnswerRate     Code = "answer_rate"
	CodeAddressRefused Code = "address_refused"
)

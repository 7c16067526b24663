package wire

import "fmt"

// A Message is the body of a frame that Append can write. Those of control
// frames, which the control planes of two nodes exchange, also come out of
// ParseMessage. The messages of the data plane are not Messages, as their frames
// have more to them than a body.
type Message interface {
	Type() Type
	AppendBody(b []byte) []byte // the layout in the type's comment
}

// Append appends the whole frame of a message that is not routed. It panics if
// the frame would be longer than MaxFrame, or a list in it too long to be read:
// whoever makes messages bounds them.
func Append(b []byte, m Message) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, byte(m.Type()), 0, 0, Version)
	b = m.AppendBody(b)
	putLength(b[start:], len(b)-start)
	return b
}

// ParseMessage reads the body of a control frame. The result, a plain value such
// as Beat, shares nothing with body.
func ParseMessage(t Type, body []byte) (Message, error) {
	parse := messages[t]
	if parse == nil {
		return nil, fmt.Errorf("%v is no control frame", t)
	}
	p := parser{b: body}
	m := parse(&p)
	if err := p.failed(t); err != nil {
		return nil, err
	}
	return m, nil
}

var messages = [256]func(*parser) Message{
	TypeUndelivered: parseUndelivered,
	TypeLeaving:     parseLeaving,
	TypeLeave:       func(*parser) Message { return Leave{} },
	TypeError:       parseError,
	TypeWant:        func(*parser) Message { return Want{} },

	TypeBeat:      parseBeat,
	TypeProbeFor:  parseProbeFor,
	TypeLeaves:    parseLeaves,
	TypeViewEvent: parseViewEvent,
	TypeViewHash:  parseViewHash,
	TypeViewGet:   parseViewGet,
	TypeLookup:    parseLookup,
	TypeFound:     parseFound,

	TypeAnnounce:  parseAnnounce,
	TypeAnnounced: parseAnnounced,
	TypeResolve:   parseResolve,
	TypeMembers:   parseMembers,
	TypeRedirect:  parseRedirect,
	TypeCheck:     parseCheck,
	TypeChecked:   parseChecked,
	TypeDigestDir: parseDigestDir,
	TypeReplicate: parseReplicate,

	TypeNack:     parseNack,
	TypeUnwanted: parseUnwanted,
	TypeDialBack: parseDialBack,
}

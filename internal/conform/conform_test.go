package conform

import (
	"slices"
	"strings"
	"testing"

	"github.com/project-iris/iris/internal/relaywire"
)

// A step of a connection: a message to the node or from it.
type step struct {
	toNode bool
	message
}

func to(m message) step   { return step{true, m} }
func from(m message) step { return step{false, m} }

// follow has a new checker follow a connection and returns its first objection,
// and whether that was to the last step.
func follow(c checker, steps []step) (err error, last bool) {
	for i := range steps {
		if steps[i].toNode {
			c.sent(&steps[i].message)
		} else if err := c.received(&steps[i].message); err != nil {
			return err, i == len(steps)-1
		}
	}
	return nil, false
}

var (
	serving    = []step{to(initOf("group")), from(accept)}
	plain      = []step{to(initOf("")), from(accept)}
	initiating = []step{to(initOf("")), from(accept), to(tunnelInit(1, "group", 10))}
	initiated  = append(initiating[:3:3], from(tunnelResult(1)), from(tunnelAllow(1, relaywire.TunnelWindow)), to(tunnelAllow(1, 1<<20)))
	accepted   = []step{to(initOf("group")), from(accept), from(tunnelOffer(0)), to(tunnelConfirm(0, 1)), to(tunnelAllow(1, 1<<20))}
)

// Each row ends with what a node must not send, R64 first.
func TestCheckerObjectsToWhatANodeMustNotSend(t *testing.T) {
	result := tunnelResult(1)
	result.Size = 0
	offer := tunnelOffer(0)
	offer.Size = 0
	wrongAccept := accept
	wrongAccept.Version = []byte("v2")
	for _, v := range []struct {
		name    string
		before  []step
		steps   []step
		problem string // a part of the objection
	}{
		{"reply to an unknown request", plain, []step{from(reply(0, ""))}, "not pending"},
		{"reply to a request of another id", plain, []step{to(request(1, "x", "", 1)), from(fault(2, ""))}, "not pending"},
		{"second reply", plain, []step{to(request(1, "x", "", 1)), from(reply(1, "")), from(reply(1, ""))}, "not pending"},
		{"reply after the timeout", plain, []step{to(request(1, "x", "", 1)), from(replyTimeout(1)), from(reply(1, ""))}, "not pending"},
		{"timeout after the reply", plain, []step{to(request(1, "x", "", 1)), from(reply(1, "")), from(replyTimeout(1))}, "not pending"},
		{"third reply to an id used twice", plain, []step{to(request(1, "x", "", 1)), to(request(1, "x", "", 1)), from(reply(1, "")), from(reply(1, "")), from(reply(1, ""))}, "not pending"},
		{"result of an unknown tunnel", plain, []step{from(tunnelResult(1))}, "not being built"},
		{"second result", initiated, []step{from(tunnelResult(1))}, "not being built"},
		{"timeout after the result", initiated, []step{from(tunnelTimeout(1))}, "not being built"},
		{"result after the timeout", initiating, []step{from(tunnelTimeout(1)), from(tunnelResult(1))}, "not being built"},
		{"result for an acceptor", accepted, []step{from(tunnelResult(1))}, "not being built"},
		{"broadcast to a client", plain, []step{from(delivered(""))}, "client-only"},
		{"request to a client", plain, []step{from(assigned(0, "", 1))}, "client-only"},
		{"tunnel to a client", plain, []step{from(tunnelOffer(0))}, "client-only"},
		{"continuation without a first chunk", accepted, []step{from(chunk(1, 0, "x"))}, "without a first chunk"},
		{"continuation behind a whole message", accepted, []step{from(chunk(1, 2, "x")), from(chunk(1, 0, "y")), from(chunk(1, 0, "z"))}, "without a first chunk"},
		{"empty chunk of size 0", accepted, []step{from(chunk(1, 0, ""))}, "empty chunk"},
		{"empty chunk within a message", accepted, []step{from(chunk(1, 2, "x")), from(chunk(1, 0, ""))}, "empty chunk"},
		{"empty first chunk", accepted, []step{from(chunk(1, 2, ""))}, "empty chunk"},
		{"Accept after the handshake", plain, []step{from(accept)}, "opcode 00"},
		{"Deny after the handshake", plain, []step{from(deny("v2"))}, "opcode 01"},
		{"Subscribe", plain, []step{from(subscribe("topic"))}, "opcode 06"},
		{"Unsubscribe", plain, []step{from(unsubscribe("topic"))}, "opcode 07"},
		{"chunk limit 0 in a result", initiating, []step{from(result)}, "takes 0"},
		{"chunk limit 0 in a TunnelInit", serving, []step{from(offer)}, "takes 0"},
		{"message after Close", plain, []step{to(request(1, "x", "", 1)), from(closing("")), from(reply(1, ""))}, "after the last"},
		{"second Close", plain, []step{from(closing("")), from(closing(""))}, "after the last"},

		{"message before Accept", nil, []step{to(initOf("group")), from(delivered(""))}, "before the handshake"},
		{"Close before Accept", nil, []step{to(initOf("")), from(closing("no"))}, "before the handshake"},
		{"other version", nil, []step{to(initOf("")), from(wrongAccept)}, "version"},
		{"message after Deny", nil, []step{to(initOf("")), from(deny("v2")), from(accept)}, "after the last"},
		{"request ids with a hole", serving, []step{from(assigned(0, "", 1)), from(assigned(2, "", 1))}, "the next is 1"},
		{"request id twice", serving, []step{from(assigned(0, "", 1)), from(assigned(0, "", 1))}, "the next is 1"},
		{"build id twice", serving, []step{from(tunnelOffer(0)), from(tunnelOffer(0))}, "second time"},
		{"event nobody subscribed to", plain, []step{to(subscribe("a")), from(publish("b", ""))}, "never subscribed"},
		{"allowance before the result", initiating, []step{from(tunnelAllow(1, 1))}, "not open"},
		{"chunk before the result", initiating, []step{from(chunk(1, 1, "x"))}, "not open"},
		{"close before the result", initiating, []step{from(tunnelClose(1, ""))}, "not open"},
		{"allowance before the confirmation", serving, []step{from(tunnelOffer(0)), from(tunnelAllow(1, 1))}, "not open"},
		{"second close of a tunnel", initiated, []step{from(tunnelClose(1, "")), from(tunnelClose(1, ""))}, "not open"},
		{"chunk of a closed tunnel", initiated, []step{from(tunnelClose(1, "")), from(chunk(1, 1, "x"))}, "not open"},
		{"allowance for a closed tunnel", initiated, []step{to(chunk(1, 1, "x")), from(tunnelClose(1, "")), from(tunnelAllow(1, 1))}, "not open"},
		{"more window than there is", initiated, []step{from(tunnelAllow(1, 1))}, "exceeds the window"},
		{"huge window", accepted, []step{from(tunnelAllow(1, ^uint64(0)))}, "exceeds the window"},
		{"payload beyond the announced size", initiated, []step{from(chunk(1, 2, "x")), from(chunk(1, 0, "yz"))}, "where 1 were missing"},
		{"message above 2^31-1", initiated, []step{from(chunk(1, 1<<31, "x"))}, "message of 2147483648"},
		{"chunk above 64 KiB", initiated, []step{from(chunk(1, 1<<20, strings.Repeat("x", relaywire.ChunkLimit+1)))}, "chunk of 65537"},
		{"first chunk beyond the allowance", initiating, []step{from(tunnelResult(1)), to(tunnelAllow(1, 10)), from(chunk(1, 8, "12345678")), from(chunk(1, 3, "123"))}, "exceeds the allowance"},
	} {
		err, last := follow(new(Checker), append(v.before[:len(v.before):len(v.before)], v.steps...))
		if err == nil || !last || !strings.Contains(err.Error(), v.problem) {
			t.Errorf("%s: objection %v, to the last step: %t; wanted one to the last step with %q", v.name, err, last, v.problem)
		}
	}
}

func TestCheckerLetsPassWhatANodeMaySend(t *testing.T) {
	for _, v := range []struct {
		name   string
		before []step
		steps  []step
	}{
		{"Deny", nil, []step{to(initOf("")), from(deny("v2"))}},
		{"two replies to an id used twice", plain, []step{to(request(1, "x", "", 1)), to(request(1, "x", "", 1)), from(reply(1, "")), from(replyTimeout(1))}},
		{"id of a request used again", plain, []step{to(request(1, "x", "", 1)), from(reply(1, "")), to(request(1, "x", "", 1)), from(fault(1, ""))}},
		{"requests and tunnels to a service", serving, []step{from(assigned(0, "", 1)), from(tunnelOffer(0)), from(assigned(1, "", 1)), from(tunnelOffer(1)), from(delivered(""))}},
		{"event queued before the unsubscription", plain, []step{to(subscribe("a")), to(unsubscribe("a")), from(publish("a", ""))}},
		{"tunnel that timed out and is built again", initiating, []step{from(tunnelTimeout(1)), to(tunnelInit(1, "group", 10)), from(tunnelResult(1))}},
		{"tunnel that was closed and is built again", initiated, []step{from(tunnelClose(1, "")), to(tunnelInit(1, "group", 10)), from(tunnelResult(1)), from(tunnelClose(1, ""))}},
		{"data in flight when the program closes", initiated, []step{to(tunnelClose(1, "")), from(chunk(1, 1, "x")), from(tunnelClose(1, ""))}},
		{"close of a build that ended before its confirmation", serving, []step{from(tunnelOffer(0)), to(tunnelConfirm(0, 1)), from(tunnelClose(1, "late"))}},
		{"window granted again", initiated, []step{to(chunk(1, 4, "ab")), to(chunk(1, 0, "cd")), from(tunnelAllow(1, 1)), from(tunnelAllow(1, 3))}},
		{"forced continuation", initiating, []step{from(tunnelResult(1)), to(tunnelAllow(1, 2)), from(chunk(1, 5, "ab")), from(chunk(1, 0, "cde"))}},
		{"forced start behind an abandoned message", initiating, []step{from(tunnelResult(1)), to(tunnelAllow(1, 2)), from(chunk(1, 5, "ab")), from(chunk(1, 3, "cde"))}},
		{"chunk larger than all that was ever granted", initiating, []step{from(tunnelResult(1)), to(tunnelAllow(1, 2)), from(chunk(1, 3, "abc"))}},
		{"endless allowance", initiated, []step{to(tunnelAllow(1, ^uint64(0))), to(tunnelAllow(1, ^uint64(0))), from(chunk(1, 1, "x"))}},
		{"what no node accepts", initiated, []step{to(initOf("group")), to(tunnelInit(1, "x", 1)), to(tunnelConfirm(9, 1)), to(chunk(8, 1, "x")), to(tunnelAllow(8, 1)), from(chunk(1, 1, "x")), from(closing("violation"))}},
	} {
		if err, _ := follow(new(Checker), append(v.before[:len(v.before):len(v.before)], v.steps...)); err != nil {
			t.Errorf("%s: objection %q, wanted none", v.name, err)
		}
	}
}

// pass has c see a step, in either direction, and returns its objection.
func pass(c checker, s *step) error {
	if !s.toNode {
		return c.received(&s.message)
	}
	err := c.wrong(&s.message)
	c.sent(&s.message)
	return err
}

// Each row ends with what a program must not send or has no reason to.
func TestCheckerObjectsToWhatAProgramMustNotSend(t *testing.T) {
	allowed := slices.Concat(accepted, []step{from(tunnelAllow(1, 10))})
	other := initOf("")
	other.Version = []byte("v2")
	for _, v := range []struct {
		name    string
		before  []step
		last    message
		problem string // a part of the objection
	}{
		{"other version", nil, other, "v2"},
		{"second Init", plain, initOf(""), "second Init"},
		{"message before Accept", []step{to(initOf(""))}, broadcast("x", ""), "before the handshake"},
		{"second Close", slices.Concat(plain, []step{to(closing(""))}), closing(""), "second Close"},
		{"request with the id of a pending one", slices.Concat(plain, []step{to(request(1, "x", "", 1))}), request(1, "x", "", 1), "pending request"},
		{"reply to nothing", serving, reply(0, ""), "nobody waits"},
		{"second reply", slices.Concat(serving, []step{from(assigned(0, "", 1)), to(reply(0, ""))}), fault(0, ""), "nobody waits"},
		{"second subscription", slices.Concat(plain, []step{to(subscribe("a"))}), subscribe("a"), "subscribed already"},
		{"unsubscription of nothing", plain, unsubscribe("a"), "not subscribed"},
		{"second unsubscription", slices.Concat(plain, []step{to(subscribe("a")), to(unsubscribe("a"))}), unsubscribe("a"), "not subscribed"},
		{"id of a tunnel being built", initiating, tunnelInit(1, "group", 10), "in use"},
		{"id of an open tunnel", initiated, tunnelInit(1, "group", 10), "in use"},
		{"confirmation of nothing", serving, tunnelConfirm(0, 1), "not due"},
		{"second confirmation", accepted, tunnelConfirm(0, 2), "not due"},
		{"confirmation with the id of an open tunnel", slices.Concat(accepted, []step{from(tunnelOffer(1))}), tunnelConfirm(1, 1), "in use"},
		{"allowance before the result", initiating, tunnelAllow(1, 1), "being built"},
		{"chunk before the result", initiating, chunk(1, 1, "x"), "being built"},
		{"close before the result", initiating, tunnelClose(1, ""), "being built"},
		{"chunk before an allowance", accepted, chunk(1, 1, "x"), "exceeds the allowance of 0"},
		{"chunk beyond the allowance", slices.Concat(allowed, []step{to(chunk(1, 12, "12345678"))}), chunk(1, 0, "9ab"), "exceeds the allowance of 2"},
		{"empty chunk", initiated, chunk(1, 1, ""), "empty chunk"},
		{"continuation without a first chunk", initiated, chunk(1, 0, "x"), "without a first chunk"},
		{"continuation behind a whole message", slices.Concat(allowed, []step{to(chunk(1, 1, "x"))}), chunk(1, 0, "y"), "without a first chunk"},
		{"octets beyond the announced size", slices.Concat(allowed, []step{to(chunk(1, 3, "xy"))}), chunk(1, 0, "za"), "where 1 were missing"},
		{"message above 2^31-1", initiated, chunk(1, 1<<31, "x"), "message of 2147483648"},
	} {
		var c Checker
		for i := range v.before {
			if err := pass(&c, &v.before[i]); err != nil {
				t.Errorf("%s: objection %q to step %d", v.name, err, i)
			}
		}
		if err := c.wrong(&v.last); err == nil || !strings.Contains(err.Error(), v.problem) {
			t.Errorf("%s: objection %v, wanted one with %q", v.name, err, v.problem)
		}
	}
}

func TestCheckerLetsPassWhatAProgramMaySend(t *testing.T) {
	for _, v := range []struct {
		name   string
		before []step
		steps  []step
	}{
		{"id of a request used again", plain, []step{to(request(1, "x", "", 1)), from(reply(1, "")), to(request(1, "x", "", 1))}},
		{"topic subscribed again", plain, []step{to(subscribe("a")), to(unsubscribe("a")), to(subscribe("a")), from(publish("a", ""))}},
		{"message abandoned", initiated, []step{to(chunk(1, 3, "xy")), to(chunk(1, 2, "z")), to(chunk(1, 0, "z"))}},
		{"tunnel id used again", initiated, []step{to(tunnelClose(1, "")), from(tunnelClose(1, "")), to(tunnelInit(1, "group", 10))}},
		{"data and allowance that crossed with a close", initiated, []step{from(tunnelClose(1, "")), to(chunk(1, 1, "x")), to(tunnelAllow(1, 1)), to(tunnelClose(1, ""))}},
		{"reply that crossed with a close", serving, []step{from(assigned(0, "", 1)), to(closing("")), to(reply(0, "")), from(closing(""))}},
	} {
		var c Checker
		for i, step := range slices.Concat(v.before, v.steps) {
			if err := pass(&c, &step); err != nil {
				t.Errorf("%s: objection %q to step %d, wanted none", v.name, err, i)
			}
		}
	}
}

package conform

import (
	"slices"
	"strings"
	"testing"

	"github.com/project-iris/iris/internal/relaywire"
)

func olderInit() message {
	m, _ := introduction(relaywire.V0, "group")
	return m
}

// messages gives m the size that tunnels of V0 begin with.
func messages(m message) message {
	m.Size = olderWindow
	return m
}

// times returns a step n times.
func times(n int, s step) []step { return slices.Repeat([]step{s}, n) }

var (
	olderServing    = []step{to(olderInit()), from(message{Op: relaywire.Accept})}
	olderInitiating = append(olderServing[:2:2], to(messages(tunnelInit(1, "group", 10))))
	olderInitiated  = append(olderInitiating[:3:3], from(messages(tunnelResult(1))))
	olderOffered    = append(olderServing[:2:2], from(messages(tunnelOffer(0))))
	olderAccepted   = append(olderOffered[:3:3], to(messages(tunnelConfirm(0, 1))))
	whole           = message{Op: relaywire.TunnelTransfer, ID: 1}
	ack             = message{Op: relaywire.TunnelAllow, ID: 1}
)

// Each row ends with what panics or crashes a library of V0 in use.
func TestOlderCheckerObjectsToWhatANodeMustNotSend(t *testing.T) {
	for _, v := range []struct {
		name    string
		before  []step
		steps   []step
		problem string // a part of the objection
	}{
		{"Close before Accept", olderServing[:1], []step{from(closing(""))}, "before the handshake"},
		{"message before Accept", olderServing[:1], []step{from(delivered(""))}, "before the handshake"},
		{"second Accept", olderServing, []step{from(message{Op: relaywire.Accept})}, "opcode 00"},
		{"Close that nobody asked for", olderServing, []step{from(closing(""))}, "nobody asked"},
		{"message after Close", olderServing, []step{to(closing("")), from(closing("")), from(delivered(""))}, "after the last"},
		{"second Close", olderServing, []step{to(closing("")), from(closing("")), from(closing(""))}, "after the last"},
		{"reply to an unknown request", olderServing, []step{from(reply(0, ""))}, "not pending"},
		{"second reply", olderServing, []step{to(request(1, "x", "", 1)), from(reply(1, "")), from(reply(1, ""))}, "not pending"},
		{"reply after the timeout", olderServing, []step{to(request(1, "x", "", 1)), from(replyTimeout(1)), from(reply(1, ""))}, "not pending"},
		{"request ids with a hole", olderServing, []step{from(assigned(1, "", 0))}, "the next is 0"},
		{"event nobody subscribed to", olderServing, []step{from(publish("a", ""))}, "never subscribed"},
		{"build id twice", olderOffered, []step{from(messages(tunnelOffer(0)))}, "second time"},
		{"build with another window", olderServing, []step{from(tunnelOffer(0))}, "wanted 128"},
		{"tunnel with another window", olderInitiating, []step{from(tunnelResult(1))}, "wanted 128"},
		{"result of an unknown tunnel", olderServing, []step{from(messages(tunnelResult(1)))}, "not being built"},
		{"second result", olderInitiated, []step{from(messages(tunnelResult(1)))}, "not being built"},
		{"message before the result", olderInitiating, []step{from(whole)}, "not open"},
		{"acknowledgement before the result", olderInitiating, []step{from(ack)}, "not open"},
		{"close before the result", olderInitiating, []step{from(tunnelClose(1, ""))}, "not open"},
		{"close of a build that timed out", olderInitiating, []step{from(tunnelTimeout(1)), from(tunnelClose(1, ""))}, "not open"},
		{"message before the confirmation", olderOffered, []step{from(whole)}, "not open"},
		{"close before the confirmation", olderOffered, []step{from(tunnelClose(1, ""))}, "not open"},
		{"message beyond the window", olderAccepted, times(olderWindow+1, from(whole)), "exceeds the window"},
		{"message beyond what was acknowledged", olderInitiated,
			slices.Concat(times(olderWindow, from(whole)), times(2, to(ack)), times(3, from(whole))), "exceeds the window"},
		{"acknowledgement of nothing", olderInitiated, []step{from(ack)}, "nothing was sent"},
		{"second acknowledgement", olderAccepted, []step{to(whole), from(ack), from(ack)}, "nothing was sent"},
		{"acknowledgement after the program's close", olderAccepted, []step{to(whole), to(tunnelClose(1, "")), from(ack)}, "has closed"},
		{"acknowledgement after the close", olderAccepted, []step{to(whole), from(tunnelClose(1, "")), from(ack)}, "not open"},
		{"message after the close", olderAccepted, []step{from(tunnelClose(1, "")), from(whole)}, "not open"},
		{"second close", olderAccepted, []step{from(tunnelClose(1, "")), from(tunnelClose(1, ""))}, "not open"},
		{"answer to a close of what is closed", olderAccepted,
			[]step{from(tunnelClose(1, "")), to(tunnelClose(1, "")), from(tunnelClose(1, ""))}, "not open"},
	} {
		err, last := follow(new(olderChecker), slices.Concat(v.before, v.steps))
		if err == nil || !last || !strings.Contains(err.Error(), v.problem) {
			t.Errorf("%s: objection %v, to the last step: %t; wanted one to the last step with %q", v.name, err, last, v.problem)
		}
	}
}

// Each row ends with what a program of V0 must not send or has no reason to.
func TestOlderCheckerObjectsToWhatAProgramMustNotSend(t *testing.T) {
	for _, v := range []struct {
		name    string
		before  []step
		last    message
		problem string // a part of the objection
	}{
		{"Init of V1", nil, initOf("group"), "an Init with"},
		{"second Init", olderServing, olderInit(), "second Init"},
		{"message before Accept", olderServing[:1], broadcast("x", ""), "before the handshake"},
		{"second Close", slices.Concat(olderServing, []step{to(closing(""))}), closing(""), "second Close"},
		{"reply to nothing", olderServing, reply(0, ""), "nobody waits"},
		{"build without a window", olderServing, tunnelInit(1, "group", 10), "wanted 128"},
		{"confirmation without a window", olderOffered, tunnelConfirm(0, 1), "wanted 128"},
		{"message before the result", olderInitiating, whole, "being built"},
		{"message beyond the window", slices.Concat(olderInitiated, times(olderWindow, to(whole))), whole, "exceeds the window"},
		{"acknowledgement of nothing", olderAccepted, ack, "nothing came"},
	} {
		c := new(olderChecker)
		for i := range v.before {
			if err := pass(c, &v.before[i]); err != nil {
				t.Errorf("%s: objection %q to step %d", v.name, err, i)
			}
		}
		if err := c.wrong(&v.last); err == nil || !strings.Contains(err.Error(), v.problem) {
			t.Errorf("%s: objection %v, wanted one with %q", v.name, err, v.problem)
		}
	}
}

func TestOlderCheckerLetsPassWhatIsInOrder(t *testing.T) {
	for _, v := range []struct {
		name   string
		before []step
		steps  []step
	}{
		{"whatever members get", olderServing, []step{from(delivered("")), from(assigned(0, "", 0)), to(reply(0, "")), from(assigned(1, "", 0))}},
		{"Close that was asked for", olderServing, []step{to(closing("")), from(delivered("")), from(closing(""))}},
		{"whole window both ways", olderInitiated, slices.Concat(
			times(olderWindow, to(whole)), times(olderWindow, from(whole)),
			times(olderWindow, from(ack)), times(olderWindow, to(ack)),
			times(olderWindow, to(whole)), times(olderWindow, from(whole)))},
		{"build that timed out", olderInitiating, []step{from(tunnelTimeout(1)), to(messages(tunnelInit(1, "group", 10)))}},
		{"data and close that cross with a close", olderAccepted,
			[]step{to(whole), to(tunnelClose(1, "")), from(whole), from(tunnelClose(1, "")), to(ack)}},
		{"close of what is closed", olderAccepted, []step{from(tunnelClose(1, "")), to(whole), to(ack), to(tunnelClose(1, ""))}},
	} {
		c := new(olderChecker)
		for i, step := range slices.Concat(v.before, v.steps) {
			if err := pass(c, &step); err != nil {
				t.Errorf("%s: objection %q to step %d, wanted none", v.name, err, i)
			}
		}
	}
}

package iris

import (
	"context"
	"errors"
	"fmt"
)

// What a call may fail with, beside a *RemoteError, a *DeniedError and the error
// of a context that was cancelled. Errors wrap these: use errors.Is.
var (
	// ErrTimeout: there was no answer in time. It is context.DeadlineExceeded
	// to errors.Is.
	ErrTimeout error = deadlineError("no answer in time")

	// ErrClosed: the client or tunnel was closed by the program itself.
	ErrClosed = errors.New("closed")

	// ErrLost: the connection to the node was lost, or the node ended it. What
	// was under way may have been carried out or not.
	ErrLost = errors.New("the connection to the node was lost")

	// ErrBusy: too many requests are pending. It was not sent.
	ErrBusy = errors.New("4,096 requests are pending: wait for some of them")

	// ErrNoNode: nobody listens where the node should.
	ErrNoNode = errors.New("no node on this host")

	// ErrNotIris: who listens there does not speak the relay protocol.
	ErrNotIris = errors.New("no node answers there")

	// ErrUntrusted: the Unix socket is one that may not be trusted, or that does
	// not let this user in.
	ErrUntrusted = errors.New("the socket is not for this user")

	// ErrTooLarge: a message or a name is over a limit. It was not sent.
	ErrTooLarge = errors.New("over a limit")

	// ErrSubscribed: the client has a subscription to the topic.
	ErrSubscribed = errors.New("subscribed already: unsubscribe first")
)

// A deadlineError is context.DeadlineExceeded to errors.Is.
type deadlineError string

func (e deadlineError) Error() string        { return string(e) }
func (e deadlineError) Is(target error) bool { return target == context.DeadlineExceeded }
func (e deadlineError) Timeout() bool        { return true }

// A RemoteError is a fault: what the member's handler returned as an error.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return "fault: " + e.Text }

// A DeniedError is a node's refusal to speak with this version of the library.
type DeniedError struct{ Reason string } // the node's own words

func (e *DeniedError) Error() string {
	return fmt.Sprintf("the node does not speak our protocol; run a node and a library of one version: %s", e.Reason)
}

// Package iris lets a program talk to others by name. It attaches to the node
// of its own host and speaks relay protocol v1 with it; where the others run is
// the nodes' business.
//
//	client, err := iris.Connect(ctx)
//	...
//	defer client.Close()
//	reply, err := client.Request(ctx, "greeter", []byte("world"))
//
// A program becomes a member of a cluster, the unit of addressing, with
// [Register]; a member has every right of a client.
//
//	service, err := iris.Register(ctx, "greeter", iris.HandlerFunc(
//		func(ctx context.Context, body []byte) ([]byte, error) {
//			return append([]byte("hello, "), body...), nil
//		}))
//
// There are four primitives. A request goes to one member of a cluster and is
// answered by a reply, a fault or the timeout. A broadcast goes to every member.
// An event goes to every subscriber of a topic. A tunnel is an ordered, flow
// controlled stream of messages to one member, in both directions.
//
// # What may be relied on
//
// Nothing is written twice and nothing is retried here: the node chooses again
// only when the first member provably did not start a request. Messages carry no
// more than 64 MiB, names of clusters 1,024 octets and of topics 64 KiB.
//
// Slices given to a method may be used again when it returns. Slices given to a
// handler are valid until it returns; what a handler keeps, it copies. Slices
// that a method returns are the caller's own.
//
// Handlers run in goroutines of the library, as many at a time as [Limits]
// permits, and may block and call any method. With one thread, the default for
// broadcasts and events, they come one at a time in the order of arrival. What
// goes over a limit is dropped, counted in [Stats] and logged.
//
// All methods may be called concurrently. Whatever blocks takes a context.
package iris

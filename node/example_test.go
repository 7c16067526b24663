package node_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/project-iris/iris/internal/memnet"
	"github.com/project-iris/iris/node"
)

// start starts a node whose relay listens in memory; a node of your own needs
// neither listeners nor, unless it is to be found by programs, a port.
func start() *node.Node {
	n, err := node.New(node.Config{Dev: true, Listeners: []net.Listener{memnet.Listen("relay")}})
	if err != nil {
		log.Fatal(err)
	}
	if err := n.Start(); err != nil {
		log.Fatal(err)
	}
	return n
}

// greeter is a service: what it does not handle is left to NopHandler.
type greeter struct{ node.NopHandler }

func (greeter) HandleRequest(r *node.Request) {
	r.Reply(append([]byte("hello, "), r.Body...))
}

func ExampleClient_Request() {
	n := start()
	defer n.Close()

	service, err := n.Connect("greeter", greeter{})
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()

	client, err := n.Connect("", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	reply, err := client.Request(context.Background(), "greeter", []byte("world"), time.Second)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(reply))
	// Output: hello, world
}

// worker hears broadcasts.
type worker struct {
	node.NopHandler
	heard chan string
}

func (w worker) HandleBroadcast(msg []byte) { w.heard <- string(msg) }

func ExampleClient_Broadcast() {
	n := start()
	defer n.Close()

	heard := make(chan string, 2)
	for range 2 {
		if _, err := n.Connect("workers", worker{heard: heard}); err != nil {
			log.Fatal(err)
		}
	}
	client, err := n.Connect("", nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Broadcast("workers", []byte("reload")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-heard, <-heard)
	// Output: reload reload
}

func ExampleClient_Publish() {
	n := start()
	defer n.Close()

	client, err := n.Connect("", nil)
	if err != nil {
		log.Fatal(err)
	}
	prices := make(chan string, 1)
	if err := client.Subscribe("price/gold", func(event []byte) { prices <- string(event) }); err != nil {
		log.Fatal(err)
	}
	if err := client.Publish("price/gold", []byte("3,917")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-prices)
	// Output: 3,917
}

// library sends a few messages to whoever opens a tunnel to it.
type library struct{ node.NopHandler }

func (library) HandleTunnel(t *node.Tunnel) {
	go func() { // a handler must not take long
		defer t.Close()
		for _, line := range []string{"one", "two", "three"} {
			if err := t.Send(context.Background(), []byte(line)); err != nil {
				return
			}
		}
	}()
}

func ExampleClient_Tunnel() {
	n := start()
	defer n.Close()

	if _, err := n.Connect("library", library{}); err != nil {
		log.Fatal(err)
	}
	client, err := n.Connect("", nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	t, err := client.Tunnel(ctx, "library")
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	for {
		msg, err := t.Recv(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(msg))
	}
	// Output:
	// one
	// two
	// three
}

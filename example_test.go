package iris_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/project-iris/iris"
	"github.com/project-iris/iris/node"
)

// here starts a node and returns the configuration of programs that attach to it.
// On a host with a node the functions iris.Connect and iris.Register need none.
func here() (config iris.Config, stop func()) {
	n, err := node.New(node.Config{Dev: true})
	if err != nil {
		log.Fatal(err)
	}
	if err := n.Start(); err != nil {
		log.Fatal(err)
	}
	s, err := n.Status()
	if err != nil {
		log.Fatal(err)
	}
	return iris.Config{Address: s.Relay[0]}, func() { n.Close() }
}

func ExampleClient_Request() {
	config, stop := here()
	defer stop()
	ctx := context.Background()

	service, err := config.Register(ctx, "greeter", iris.HandlerFunc(
		func(ctx context.Context, body []byte) ([]byte, error) {
			if len(body) == 0 {
				return nil, errors.New("whom to greet?")
			}
			return append([]byte("hello, "), body...), nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()

	client, err := config.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reply, err := client.Request(ctx, "greeter", []byte("world"))
	fmt.Println(string(reply), err)

	_, err = client.Request(ctx, "greeter", nil)
	var remote *iris.RemoteError
	fmt.Println(errors.As(err, &remote), err)
	// Output:
	// hello, world <nil>
	// true iris: request to "greeter": fault: whom to greet?
}

func ExampleClient_RequestAsync() {
	config, stop := here()
	defer stop()
	ctx := context.Background()
	service, err := config.Register(ctx, "upper", iris.HandlerFunc(
		func(ctx context.Context, body []byte) ([]byte, error) { return bytes.ToUpper(body), nil }))
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()

	// Many requests at a time, without a goroutine for each.
	replies := make(chan string, 3)
	for _, word := range []string{"one", "two", "three"} {
		err := service.RequestAsync(ctx, "upper", []byte(word), func(reply []byte, err error) {
			replies <- string(reply) // a copy: reply is valid until done returns
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(len(<-replies) + len(<-replies) + len(<-replies))
	// Output: 11
}

// A worker is a Handler: it embeds NopHandler for the methods that it lacks.
type worker struct {
	iris.NopHandler
	name string
	told *sync.WaitGroup
}

func (w worker) HandleBroadcast(ctx context.Context, msg []byte) {
	fmt.Printf("%s: %s\n", w.name, msg)
	w.told.Done()
}

func ExampleClient_Broadcast() {
	config, stop := here()
	defer stop()
	ctx := context.Background()
	var told sync.WaitGroup
	told.Add(2)
	for _, name := range []string{"worker 1", "worker 2"} {
		service, err := config.Register(ctx, "workers", worker{name: name, told: &told})
		if err != nil {
			log.Fatal(err)
		}
		defer service.Close()
	}
	client, err := config.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	if err := client.Broadcast(ctx, "workers", []byte("reload")); err != nil {
		log.Fatal(err)
	}
	told.Wait()
	// Unordered output:
	// worker 1: reload
	// worker 2: reload
}

func ExampleClient_Publish() {
	config, stop := here()
	defer stop()
	ctx := context.Background()
	client, err := config.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	came := make(chan string)
	subscription, err := client.Subscribe(ctx, "weather", func(ctx context.Context, event []byte) {
		came <- string(event) // a copy: event is valid until the function returns
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, event := range []string{"rain", "sun"} {
		if err := client.Publish(ctx, "weather", []byte(event)); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(<-came)
	fmt.Println(<-came)
	fmt.Println(subscription.Unsubscribe(ctx))
	// Output:
	// rain
	// sun
	// <nil>
}

// A library lends books: a tunnel for each reader.
type library struct{ iris.NopHandler }

func (library) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	title, err := t.Recv(ctx)
	if err != nil {
		return // which closes the tunnel
	}
	t.Send(ctx, fmt.Appendf(nil, "%s, page 1", title))
	t.Send(ctx, fmt.Appendf(nil, "%s, page 2", title))
}

func ExampleClient_Tunnel() {
	config, stop := here()
	defer stop()
	ctx := context.Background()
	service, err := config.Register(ctx, "library", library{})
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()
	client, err := config.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	t, err := client.Tunnel(ctx, "library")
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	if err := t.Send(ctx, []byte("Walden")); err != nil {
		log.Fatal(err)
	}
	for {
		page, err := t.Recv(ctx)
		if err != nil {
			fmt.Println(err) // io.EOF: the peer closed in order
			return
		}
		fmt.Println(string(page))
	}
	// Output:
	// Walden, page 1
	// Walden, page 2
	// EOF
}

// A counter answers each line of a stream with its length.
type counter struct{ iris.NopHandler }

func (counter) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	lines := bufio.NewScanner(t)
	for lines.Scan() {
		fmt.Fprintln(t, len(lines.Text()))
	}
}

// A tunnel is also an io.ReadWriteCloser.
func ExampleTunnel() {
	config, stop := here()
	defer stop()
	ctx := context.Background()
	service, err := config.Register(ctx, "counter", counter{})
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()

	t, err := service.Tunnel(ctx, "counter")
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	if _, err := t.Write([]byte("a stream\nof lines\n")); err != nil {
		log.Fatal(err)
	}
	answers := bufio.NewScanner(t)
	for range 2 {
		answers.Scan()
		fmt.Println(answers.Text())
	}
	// Output:
	// 8
	// 8
}

func ExampleClient_Drain() {
	config, stop := here()
	defer stop()
	ctx := context.Background()
	started := make(chan struct{})
	service, err := config.Register(ctx, "slow", iris.HandlerFunc(
		func(ctx context.Context, body []byte) ([]byte, error) {
			close(started)
			return []byte("done"), nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	client, err := config.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	answer := make(chan string)
	go func() {
		reply, _ := client.Request(ctx, "slow", nil)
		answer <- string(reply)
	}()

	<-started
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	fmt.Println(service.Drain(limited)) // waits for the handler, and its reply is sent
	fmt.Println(<-answer)
	// Output:
	// <nil>
	// done
}

func ExampleConfig() {
	config, stop := here()
	defer stop()
	config.Reconnect = true
	config.Requests = iris.Limits{Threads: 2, Memory: 1 << 20}

	service, err := config.Register(context.Background(), "shout", iris.HandlerFunc(
		func(ctx context.Context, body []byte) ([]byte, error) {
			return []byte(strings.ToUpper(string(body))), nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()
	reply, err := service.Request(context.Background(), "shout", []byte("hey"))
	fmt.Println(string(reply), err)
	// Output: HEY <nil>
}

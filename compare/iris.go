package main

import (
	"context"

	"github.com/project-iris/iris"
)

// irisProgram is a program attached to an iris node.
type irisProgram struct {
	client  *iris.Client
	cluster string // of the echo service
	prefix  string // of all names: programs of both transports share a node
}

func irisConfig(address string) iris.Config { return iris.Config{Address: address} }

func connectIris(s system, address string) (*irisProgram, error) {
	client, err := irisConfig(address).Connect(context.Background())
	if err != nil {
		return nil, err
	}
	prefix := s.Transport + "."
	return &irisProgram{client, prefix + "echo", prefix}, nil
}

func (p *irisProgram) Request(body []byte) ([]byte, error) {
	return p.client.Request(context.Background(), p.cluster, body)
}

func (p *irisProgram) Pipeline(done func(reply []byte, err error)) (func([]byte) error, error) {
	ctx := context.Background()
	return func(body []byte) error { return p.client.RequestAsync(ctx, p.cluster, body, done) }, nil
}

func (p *irisProgram) Publisher(topic string) func([]byte) error {
	ctx := context.Background()
	topic = p.prefix + topic
	return func(event []byte) error { return p.client.Publish(ctx, topic, event) }
}

func (p *irisProgram) Subscribe(topic string, handle func([]byte)) error {
	_, err := p.client.Subscribe(context.Background(), p.prefix+topic, func(_ context.Context, event []byte) { handle(event) })
	return err
}

// Tunnel has no window of its own: a tunnel has flow control.
func (p *irisProgram) Tunnel(acks func([]byte)) (func([]byte) error, int64, error) {
	ctx := context.Background()
	t, err := p.client.Tunnel(ctx, p.prefix+"tunnel")
	if err != nil {
		return nil, 0, err
	}
	go func() {
		for {
			ack, err := t.Recv(ctx)
			if err != nil {
				return
			}
			acks(ack)
		}
	}()
	return func(msg []byte) error { return t.Send(ctx, msg) }, unlimited, nil
}

// serveIris serves what the loads need.
func serveIris(s system, address string) error {
	ctx := context.Background()
	echo := iris.HandlerFunc(func(_ context.Context, body []byte) ([]byte, error) { return body, nil })
	if _, err := irisConfig(address).Register(ctx, s.Transport+".echo", echo); err != nil {
		return err
	}
	if _, err := irisConfig(address).Register(ctx, s.Transport+".tunnel", irisTunnels{}); err != nil {
		return err
	}
	connect := func() (fabric, error) { return connectIris(s, address) }
	if err := subscribe(1, connect); err != nil {
		return err
	}
	return subscribe(4, connect)
}

// irisTunnels receives through tunnels.
type irisTunnels struct{ iris.NopHandler }

func (irisTunnels) HandleTunnel(ctx context.Context, t *iris.Tunnel) {
	r := &receiver{every: unlimited}
	for {
		msg, err := t.Recv(ctx)
		if err != nil {
			return
		}
		if ack := r.take(msg); ack != nil {
			if t.Send(ctx, ack) != nil {
				return
			}
		}
	}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// natsProgram is a program connected to a NATS server.
type natsProgram struct{ conn *nats.Conn }

func connectNATS(address string) (*natsProgram, error) {
	conn, err := nats.Connect("nats://"+address, nats.NoReconnect(), nats.ErrorHandler(
		func(_ *nats.Conn, _ *nats.Subscription, err error) { fmt.Fprintln(os.Stderr, "nats:", err) }))
	if err != nil {
		return nil, err
	}
	return &natsProgram{conn}, nil
}

func (p *natsProgram) Request(body []byte) ([]byte, error) {
	msg, err := p.conn.Request("tcp.echo", body, time.Minute)
	if err != nil {
		return nil, err
	}
	return msg.Data, nil
}

// Pipeline has all replies come to one subject. It does not tell which request
// one belongs to, which is the most favourable to NATS.
func (p *natsProgram) Pipeline(done func(reply []byte, err error)) (func([]byte) error, error) {
	inbox := p.conn.NewInbox()
	if _, err := p.conn.Subscribe(inbox, func(m *nats.Msg) { done(m.Data, nil) }); err != nil {
		return nil, err
	}
	return func(body []byte) error { return p.conn.PublishRequest("tcp.echo", inbox, body) }, nil
}

func (p *natsProgram) Publisher(topic string) func([]byte) error {
	subject := "tcp." + topic
	return func(event []byte) error { return p.conn.Publish(subject, event) }
}

func (p *natsProgram) Subscribe(topic string, handle func([]byte)) error {
	_, err := p.conn.Subscribe("tcp."+topic, func(m *nats.Msg) { handle(m.Data) })
	return err
}

// Tunnel publishes within a window of 4 MiB, as programs that move large data
// over NATS have to.
func (p *natsProgram) Tunnel(acks func([]byte)) (func([]byte) error, int64, error) {
	return p.Publisher("tunnel"), tunnelWindow, p.Subscribe("tunnel.acks", acks)
}

// serveNATS serves what the loads need.
func serveNATS(address string) error {
	p, err := connectNATS(address)
	if err != nil {
		return err
	}
	echo := func(m *nats.Msg) { m.Respond(m.Data) } // a lost one is missed by the client
	if _, err := p.conn.Subscribe("tcp.echo", echo); err != nil {
		return err
	}
	// The tunnel has a connection of its own, as with Iris.
	t, err := connectNATS(address)
	if err != nil {
		return err
	}
	r := &receiver{every: tunnelAcks}
	acknowledge := t.Publisher("tunnel.acks")
	err = t.Subscribe("tunnel", func(msg []byte) {
		if ack := r.take(msg); ack != nil {
			acknowledge(ack) // a lost one is missed by the client
		}
	})
	if err != nil {
		return err
	}
	connect := func() (fabric, error) { return connectNATS(address) }
	if err := errors.Join(subscribe(1, connect), subscribe(4, connect)); err != nil {
		return err
	}
	return p.conn.Flush() // and wait: no subscription of these is confirmed
}

// clientNATS connects, and waits until the server knows of the service, which may
// be on another host.
func clientNATS(address string) (*natsProgram, error) {
	p, err := connectNATS(address)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, err = p.Request(nil)
		if !errors.Is(err, nats.ErrNoResponders) || time.Now().After(end) {
			return p, err
		}
	}
}

// startNATS starts a server and returns where it listens. It has its defaults, but
// for what makes servers on several hosts one cluster: that is in a file.
func startNATS(sys system, file string) (address string, err error) {
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT}
	if sys.Apart {
		if o, err = server.ProcessConfigFile(file); err != nil {
			return "", err
		}
	}
	o.NoLog, o.NoSigs = true, true
	s, err := server.NewServer(o)
	if err != nil {
		return "", err
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		return "", fmt.Errorf("the NATS server is not ready after %v", patience)
	}
	return s.Addr().String(), nil
}

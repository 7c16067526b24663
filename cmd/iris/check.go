package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/project-iris/iris/internal/relaywire"
)

// checkTime bounds the check of a relay.
const checkTime = 5 * time.Second

// checkRelay attaches a service and a client to the relay at addr, over TCP as
// any program would, sends one request from one to the other, and returns a
// sentence with what was sent, what was answered and how long that took.
func checkRelay(addr string) (string, error) {
	sentence, err := exchange(addr)
	if err != nil {
		return "", fmt.Errorf("the relay at %s does not serve programs: %w", addr, err)
	}
	return sentence, nil
}

func exchange(addr string) (string, error) {
	const sent = "hello"
	var random [4]byte
	rand.Read(random[:])
	cluster := "check-" + hex.EncodeToString(random[:])

	service, err := attach(addr, cluster)
	if err != nil {
		return "", err
	}
	defer service.Close()
	client, err := attach(addr, "")
	if err != nil {
		return "", err
	}
	defer client.Close()

	began := time.Now()
	if err := client.send(relaywire.Message{
		Op:      relaywire.Request,
		Name:    []byte(cluster),
		Body:    []byte(sent),
		Timeout: uint64(checkTime.Milliseconds()),
	}); err != nil {
		return "", err
	}
	request, err := service.receive(relaywire.Request)
	if err != nil {
		return "", err
	}
	if err := service.send(relaywire.Message{Op: relaywire.Reply, ID: request.ID, Body: request.Body}); err != nil {
		return "", err
	}
	reply, err := client.receive(relaywire.Reply)
	if err != nil {
		return "", err
	}
	took := time.Since(began)
	if reply.TimedOut || reply.Fault || string(reply.Body) != sent {
		return "", fmt.Errorf("a request with %q was answered %q (timeout: %v, fault: %v)", sent, reply.Body, reply.TimedOut, reply.Fault)
	}
	if err := errors.Join(service.leave(), client.leave()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%q sent to cluster %q was answered %q in %.2f ms through %s",
		sent, cluster, reply.Body, float64(took)/float64(time.Millisecond), addr), nil
}

// A program is one attached over the bare protocol.
type program struct {
	net.Conn
	in []byte // read, not parsed
}

// attach attaches a program, a member of cluster unless that is empty. Its
// connection lives for checkTime.
func attach(addr, cluster string) (*program, error) {
	conn, err := net.DialTimeout("tcp", addr, checkTime)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(checkTime))
	p := &program{Conn: conn}
	if err := p.introduce(cluster); err != nil {
		conn.Close()
		return nil, err
	}
	return p, nil
}

// introduce does the handshake.
func (p *program) introduce(cluster string) error {
	err := p.send(relaywire.Message{
		Op:      relaywire.Init,
		Magic:   []byte(relaywire.ClientMagic),
		Version: []byte(relaywire.Version),
		Name:    []byte(cluster),
	})
	if err != nil {
		return err
	}
	_, err = p.receive(relaywire.Accept)
	return err
}

// leave closes the connection in order.
func (p *program) leave() error {
	if err := p.send(relaywire.Message{Op: relaywire.Close}); err != nil {
		return err
	}
	_, err := p.receive(relaywire.Close)
	return err
}

func (p *program) send(m relaywire.Message) error {
	_, err := p.Write(m.AppendToNode(nil))
	return err
}

// receive returns the next message, which is to be op.
func (p *program) receive(op relaywire.Op) (relaywire.Message, error) {
	m, err := p.next()
	if err == nil && m.Op != op {
		err = fmt.Errorf("message %#02x came in place of %#02x, with %q", byte(m.Op), byte(op), m.Body)
	}
	return m, err
}

// next returns the next message.
func (p *program) next() (relaywire.Message, error) {
	buf := make([]byte, 1024)
	for {
		var m relaywire.Message
		n, err := relaywire.DefaultLimits.ParseToClient(p.in, &m)
		if err == nil {
			p.in = p.in[n:]
			return m, nil
		}
		if err != relaywire.ErrShort {
			return m, err
		}
		n, err = p.Read(buf)
		if err != nil {
			return m, err
		}
		p.in = append(p.in, buf[:n]...)
	}
}

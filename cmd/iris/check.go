package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/project-iris/iris"
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
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()

	config := iris.Config{Address: addr}
	service, err := config.Register(ctx, cluster, iris.HandlerFunc(
		func(_ context.Context, body []byte) ([]byte, error) { return body, nil }))
	if err != nil {
		return "", err
	}
	defer service.Close()
	client, err := config.Connect(ctx)
	if err != nil {
		return "", err
	}
	defer client.Close()

	began := time.Now()
	reply, err := client.Request(ctx, cluster, []byte(sent))
	took := time.Since(began)
	if err != nil {
		return "", err
	}
	if string(reply) != sent {
		return "", fmt.Errorf("a request with %q was answered %q", sent, reply)
	}
	return fmt.Sprintf("%q sent to cluster %q was answered %q in %.2f ms through %s",
		sent, cluster, reply, milliseconds(took), addr), nil
}

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A machine is what figures depend on beside the systems.
type machine struct {
	Cores      int    `json:"cores"`
	CPU        string `json:"cpu"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	NATSServer string `json:"nats_server"`
	NATSClient string `json:"nats_client"`
}

func thisMachine() machine {
	return machine{
		Cores:      runtime.NumCPU(),
		CPU:        firstField(readText("/proc/cpuinfo"), "model name"),
		Kernel:     readText("/proc/sys/kernel/ostype") + " " + readText("/proc/sys/kernel/osrelease"),
		Go:         fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH),
		NATSServer: server.VERSION,
		NATSClient: nats.Version,
	}
}

func (m machine) write(w io.Writer) {
	fmt.Fprintf(w, "%d cores, %s; %s; %s; NATS server %s, client %s\n", m.Cores, m.CPU, m.Kernel, m.Go, m.NATSServer, m.NATSClient)
}

// readText returns what a file holds, or nothing.
func readText(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

// firstField returns the value of the first line of text that is "name: value".
func firstField(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

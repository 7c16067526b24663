package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-iris/iris/internal/hosts"
)

// play has the command make a run, and returns its output and exit status. It is
// skipped where that cannot be unless IRIS_HOSTS is set. The command is built without
// the race detector, under which it would be too slow for what it watches.
func play(t *testing.T, args ...string) (output string, status int) {
	t.Helper()
	lan, err := hosts.New(1)
	if errors.Is(err, hosts.ErrUnable) && os.Getenv("IRIS_HOSTS") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	lan.Close()
	path := filepath.Join(t.TempDir(), "chaos")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, output)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, append(args, "--history", t.TempDir())...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdout = io.MultiWriter(&out, t.Output())
	cmd.Stderr = cmd.Stdout
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// Two minutes of it; IRIS_CHAOS_SEED is for another plan. "make chaos" takes as long as it
// is told.
func TestPromisesHoldInChaos(t *testing.T) {
	seed := "1"
	if s := os.Getenv("IRIS_CHAOS_SEED"); s != "" {
		seed = s
	}
	if _, status := play(t, "--seed", seed, "--duration", "2m", "--hosts", "7", "--spare", "1", "--calm", "3s"); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// What a run would not find, it would not tell.
func TestPlantedFaultIsFound(t *testing.T) {
	output, status := play(t, "--seed", "1", "--duration", "1s", "--hosts", "4", "--spare", "0", "--plant", plantTwice)
	if found := strings.Count(output, "BROKEN: "); status != 1 || found == 0 || found != strings.Count(output, "BROKEN: "+onceExecuted) {
		t.Errorf("services executed requests twice; exit status %d, and found was\n%s", status, output)
	}
}

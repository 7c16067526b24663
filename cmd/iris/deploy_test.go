//go:build linux

package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const deploy = "../../deploy"

// readDeploy returns a file of deploy.
func readDeploy(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deploy, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func nodeCommand() *cobra.Command {
	cmd, _, err := newRoot().Find([]string{"node"})
	if err != nil {
		panic(err)
	}
	return cmd
}

// What the files to deploy a node say to it, it knows.
func TestDeployedFlagsExist(t *testing.T) {
	flags := nodeCommand().Flags()
	variables := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) { variables[noted(f, noteVariable)] = true })
	flag, env := regexp.MustCompile(`(?m)(?:^|[\s"\[])--([a-z][a-z-]*)`), regexp.MustCompile(`\bIRIS_[A-Z_]+`)
	found := 0
	for _, name := range []string{"iris@.service", "compose.yaml", "kubernetes.yaml", "Dockerfile", "iris.toml"} {
		for line := range strings.Lines(readDeploy(t, name)) {
			if regexp.MustCompile(`docker|systemctl|kubectl|COPY|HEALTHCHECK|iris, health`).MatchString(line) {
				continue // flags of other commands
			}
			for _, m := range flag.FindAllStringSubmatch(line, -1) {
				found++
				if flags.Lookup(m[1]) == nil && m[1] != "help" {
					t.Errorf("%s: there is no --%s", name, m[1])
				}
			}
			for _, v := range env.FindAllString(line, -1) {
				found++
				if !variables[v] {
					t.Errorf("%s: there is no variable %s", name, v)
				}
			}
		}
	}
	if found < 15 {
		t.Errorf("%d flags and variables were found, want more", found)
	}
}

// The configuration can be read, also where each line of it holds.
func TestDeployedConfigurationIsRead(t *testing.T) {
	text := readDeploy(t, "iris.toml")
	all := regexp.MustCompile(`(?m)^# ([a-z-]+ = )`).ReplaceAllString(text, "$1")
	for _, text := range []string{text, all} {
		path := filepath.Join(t.TempDir(), "iris.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		flags := nodeCommand().Flags()
		if err := flags.Set("config", path); err != nil {
			t.Fatal(err)
		}
		if err := settle(flags); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(all, "\n"+"socket-uid = "); n != 1 {
		t.Errorf("%d lines name users of the socket, want 1", n)
	}
}

// The container's binary needs nothing that the container has not.
func TestDockerfileBuildsAStaticBinary(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0 go build .*)$`).FindStringSubmatch(readDeploy(t, "Dockerfile"))
	if line == nil {
		t.Fatal("the Dockerfile builds nothing")
	}
	bin := filepath.Join(t.TempDir(), "iris")
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(line[1], "/out/iris", bin))
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "VERSION=v1.2.3")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary wants a loader")
		}
	}
	if libs, err := f.ImportedLibraries(); err == nil && len(libs) > 0 {
		t.Errorf("the binary wants %q", libs)
	}
	if out, err := exec.Command(bin, "version").Output(); err != nil || !strings.Contains(string(out), "v1.2.3") {
		t.Errorf("iris version says %q, error %v", out, err)
	}
}

// A manifest has what the parts of it name.
func TestDeployedManifestsHoldTogether(t *testing.T) {
	type object = map[string]any
	at := func(v any, path ...any) any {
		for _, p := range path {
			switch p := p.(type) {
			case string:
				m, _ := v.(object)
				v = m[p]
			case int:
				s, _ := v.([]any)
				if p >= len(s) {
					return nil
				}
				v = s[p]
			}
		}
		return v
	}
	read := func(name string) (all []any) {
		d := yaml.NewDecoder(strings.NewReader(readDeploy(t, name)))
		for {
			var v object
			err := d.Decode(&v)
			if errors.Is(err, io.EOF) {
				return all
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all = append(all, v)
		}
	}
	equal := func(what string, got, want any) {
		t.Helper()
		a, _ := yaml.Marshal(got)
		b, _ := yaml.Marshal(want)
		if got == nil || !bytes.Equal(a, b) {
			t.Errorf("%s is %s, want %s", what, a, b)
		}
	}

	k := read("kubernetes.yaml")
	if len(k) != 2 {
		t.Fatalf("there are %d objects, want a Service and a DaemonSet", len(k))
	}
	service, set := k[0], k[1]
	pod := at(set, "spec", "template")
	equal("the selector of the service", at(service, "spec", "selector"), at(pod, "metadata", "labels"))
	equal("the selector of the set", at(set, "spec", "selector", "matchLabels"), at(pod, "metadata", "labels"))
	equal("the mode of the key", at(pod, "spec", "volumes", 0, "secret", "defaultMode"), 0o400)
	node := at(pod, "spec", "containers", 0)
	equal("the volume of the key", at(node, "volumeMounts", 0, "name"), at(pod, "spec", "volumes", 0, "name"))
	equal("the port of the nodes", at(service, "spec", "ports", 0, "port"), at(node, "ports", 0, "containerPort"))
	equal("the command of the probes", at(node, "readinessProbe", "exec", "command", 0), at(node, "livenessProbe", "exec", "command", 0))
	equal("the name to find nodes by", at(node, "args", 4), "--discover=dns:"+at(service, "metadata", "name").(string))

	c := read("compose.yaml")[0]
	equal("the number of nodes", at(c, "services", "node", "deploy", "replicas"), 3)
	equal("the key", at(c, "secrets", "iris.key", "file"), "../demo.key")
	if _, err := os.Stat(filepath.Join(deploy, at(c, "services", "node", "build", "context").(string), "deploy/Dockerfile")); err != nil {
		t.Error(err)
	}
}

// The unit passes what systemd has to check it.
func TestUnitIsVerified(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is missing: install the package systemd")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	unit := filepath.Join(dir, "iris@demo.service")
	text := strings.ReplaceAll(readDeploy(t, "iris@.service"), "/usr/local/bin/iris", self)
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(verify, "verify", "--man=no", unit)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// 1.6 of 10 with systemd 252.
	if out, err := exec.Command(verify, "security", "--offline=true", "--threshold=20", "--no-pager", unit).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

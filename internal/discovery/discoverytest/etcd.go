package discoverytest

import (
	"net"
	"os"
	"os/exec"
	"testing"
)

// EtcdServes is part of the line that an etcd writes when it answers.
const EtcdServes = "serving insecure client requests"

// Etcd returns the command that runs an etcd at the host and ports, with its data in the
// directory. The test is skipped where there is none, unless IRIS_HOSTS is set.
func Etcd(t *testing.T, dir, host, clients, peers string) (cmd *exec.Cmd, url string) {
	t.Helper()
	path, err := exec.LookPath("etcd")
	if err != nil && os.Getenv("IRIS_HOSTS") == "" {
		t.Skip("an etcd is needed, as of Debian's etcd-server: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	url = "http://" + net.JoinHostPort(host, clients)
	peer := "http://" + net.JoinHostPort(host, peers)
	cmd = exec.Command(path, "--data-dir", dir,
		"--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	return cmd, url
}

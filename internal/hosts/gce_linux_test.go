package hosts

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/project-iris/iris/node"
)

// Hosts of a cloud have lone addresses and no multicast. The range that its metadata
// server tells is scanned, though it lets nobody list the instances.
func TestRangeThatACloudTellsIsScanned(t *testing.T) {
	const server = "169.254.169.254"
	t.Setenv("GCE_METADATA_HOST", server) // so it is not for tests side by side
	n := &network{lan: newLAN(t, 2)}
	if err := n.lan.without("IPv6"); err != nil {
		t.Fatal(err)
	}
	if err := n.lan.mask("32"); err != nil {
		t.Fatal(err)
	}
	thePlace.need(t)
	n.key = newKey(t)
	for i, h := range n.lan.Hosts {
		if err := h.thread.ip("addr add " + server + "/32 dev lo"); err != nil {
			t.Fatal(err)
		}
		l, err := h.Listen("tcp", server+":80")
		if err != nil {
			t.Fatal(err)
		}
		answer := http.NewServeMux()
		answer.HandleFunc("/computeMetadata/v1/instance/network-interfaces/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Metadata-Flavor", "Google")
			fmt.Fprintf(w, `[{"ip":"%v","subnetmask":"255.255.240.0","network":"projects/1/networks/default"}]`, h.IPv4)
		})
		s := &http.Server{Handler: answer}
		go s.Serve(l)
		t.Cleanup(func() { s.Close() })
		n.start(t, i, "--discover", "scan,gce")
	}
	for i := range n.nodes {
		n.await(t, i, "it knows the other", has(1))
		n.line(t, i, "by=gce")
	}
	n.await(t, 0, "it has probed", func(s *node.Status) bool { return s.Discovery.Sent["probes"] > 0 })
}

package discovery_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/discovery/discoverytest"
)

// resolver asks a server in this process.
func resolver(answer func(query []byte) ([]byte, error)) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			discoverytest.ServeDNS(there, answer)
		}()
		return here, nil
	}}
}

func name(s string) dnsmessage.Name { return dnsmessage.MustNewName(s) }

func addrs(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

var zone = discoverytest.Zone{
	Addrs: map[string][]netip.Addr{
		"plain.example.": addrs("10.0.0.1", "fd77::1"),
		"pod-1.example.": addrs("10.0.0.2"),
		"pod-2.example.": addrs("10.0.0.3"),
		"named.example.": addrs("10.0.0.9"), // with whatever ports the SRV records below have
		"other.example.": addrs("10.0.0.9"),
	},
	SRV: map[string][]dnsmessage.SRVResource{
		"_iris._tcp.named.example.": {{Target: name("pod-1.example."), Port: 7}, {Target: name("pod-2.example."), Port: 8}},
		"named.example.":            {{Target: name("pod-1.example."), Port: 9090}},
		"consul.example.":           {{Target: name("pod-2.example."), Port: 9}},
		"_x._tcp.example.":          {{Target: name("pod-2.example."), Port: 10}},
		"partly.example.":           {{Target: name("gone.example."), Port: 1}, {Target: name("pod-1.example."), Port: 0}, {Target: name("pod-2.example."), Port: 11}},
		"nowhere.example.":          {{Target: name("."), Port: 1}},
	},
}

func TestNamesInDNSLeadToNodes(t *testing.T) {
	huge := make([]netip.Addr, 1000)
	for i := range huge {
		huge[i] = netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
	}
	zone.Addrs["huge.example."] = huge
	for _, c := range []struct {
		of      string
		want    string
		trouble string
	}{
		{"plain.example.", "10.0.0.1:14142 [fd77::1]:14142", ""},
		{"plain.example.:5", "10.0.0.1:5 [fd77::1]:5", ""},
		{"named.example.", "10.0.0.2:7 10.0.0.3:8", ""}, // as Kubernetes has them
		{"named.example.:5", "10.0.0.9:5", ""},
		{"consul.example.", "10.0.0.3:9", ""},
		{"_x._tcp.example.", "10.0.0.3:10", ""},
		{"partly.example.", "10.0.0.3:11", "and 1 more come to nothing"},
		{"nowhere.example.", "", "neither an IP address nor a name"},
		{"gone.example.", "", "no such host"},
		{"_gone._tcp.example.", "", "no such host"},
		{"huge.example.", "256", ""},
	} {
		found, failed, err := discovery.LookDNS(t.Context(), c.of, resolver(zone.Answer))
		got := fmt.Sprint(len(found))
		if len(found) < 10 {
			slices.SortFunc(found, netip.AddrPort.Compare)
			got = strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(found), "["), "]")
		}
		if got != c.want || (err == nil) != (c.trouble == "") || err != nil && !strings.Contains(err.Error(), c.trouble) {
			t.Errorf("%s: %s, %v, want %s, %q", c.of, got, err, c.want, c.trouble)
		}
		if (failed == 1) != (err != nil) {
			t.Errorf("%s: it failed %d times", c.of, failed)
		}
	}
}

// Whatever a DNS server answers, it is a trouble with a cause, and what is of use is used.
func TestMalformedAnswersOfDNS(t *testing.T) {
	good := func(query []byte) []byte {
		b, err := zone.Answer(query)
		if err != nil {
			t.Error(err)
		}
		return b
	}
	for what, answer := range map[string]func(query []byte) ([]byte, error){
		"garbage":      func([]byte) ([]byte, error) { return []byte("no DNS message at all, for sure"), nil },
		"nothing":      func([]byte) ([]byte, error) { return nil, nil },
		"closed":       func([]byte) ([]byte, error) { return nil, net.ErrClosed },
		"cut":          func(q []byte) ([]byte, error) { return good(q)[:len(q)+3], nil },
		"header alone": func(q []byte) ([]byte, error) { return good(q)[:12], nil },
		"absurd counts": func(q []byte) ([]byte, error) {
			b := good(q)[:len(q)]
			binary.BigEndian.PutUint16(b[6:], 65535)
			return b, nil
		},
		"the question": func(q []byte) ([]byte, error) { return q, nil },
		"wrong types": func(q []byte) ([]byte, error) {
			b := good(q)
			for i := 12; i+4 < len(b); i++ { // in the header of an answer: a pointer, then the type
				if b[i] == 0xc0 && b[i+1] == 0x0c {
					b[i+3] = byte(dnsmessage.TypeTXT)
				}
			}
			return b, nil
		},
		"failure": func(q []byte) ([]byte, error) {
			b := good(q)
			b[3] = b[3]&0xf0 | byte(dnsmessage.RCodeServerFailure)
			return b, nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			for _, of := range []string{"plain.example.", "consul.example.", "_x._tcp.example."} {
				found, failed, err := discovery.LookDNS(t.Context(), of, resolver(answer))
				if len(found) > 0 || err == nil || failed != 1 {
					t.Errorf("%s: %v, %v, failed %d times", of, found, err, failed)
				}
			}
		})
	}
}

func TestDNSConforms(t *testing.T) {
	discoverytest.Conform(t, func(*testing.T) discovery.Source {
		return &discovery.DNS{
			Of: discovery.DNSName{Host: "plain.example."}, Port: 14142, Log: slog.New(slog.DiscardHandler),
			Alone: func() bool { return true }, Resolver: resolver(zone.Answer),
		}
	}, netip.MustParseAddrPort("10.0.0.1:14142"), netip.MustParseAddrPort("[fd77::1]:14142"))
}

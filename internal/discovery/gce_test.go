package discovery_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/discovery/discoverytest"
)

// A cloud answers as the metadata server and the API of Google Compute Engine do, by
// their documentation; answers may be replaced, by path.
type cloud struct {
	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	asked   []string
	ranges  []netip.Prefix
	found   []netip.AddrPort
	log     lockedText
	source  *discovery.GCE
	stop    func()
}

const (
	interfacesAt = "/computeMetadata/v1/instance/network-interfaces/"
	tokenAt      = "/computeMetadata/v1/instance/service-accounts/default/token"
	projectAt    = "/computeMetadata/v1/project/project-id"
	instancesAt  = "/compute/v1/projects/my-project/aggregated/instances"

	interfacesText = `[{"accessConfigs":[{"externalIp":"203.0.113.9","type":"ONE_TO_ONE_NAT"}],"dnsServers":["169.254.169.254"],
		"forwardedIps":[],"gateway":"10.128.0.1","ip":"10.128.0.2","ipAliases":[],"mac":"42:01:0a:80:00:02","mtu":1460,
		"network":"projects/123456/networks/default","subnetmask":"255.255.240.0","targetInstanceIps":[]}]`
	tokenText = `{"access_token":"ya29.secret","expires_in":3599,"token_type":"Bearer"}`
)

// page is a page of instances, as the API has them.
func page(next string, ips ...string) http.HandlerFunc {
	var instances []any
	for _, ip := range ips {
		instances = append(instances, map[string]any{"networkInterfaces": []any{map[string]string{
			"network": "https://www.googleapis.com/compute/v1/projects/my-project/global/networks/default", "networkIP": ip,
		}}})
	}
	text, _ := json.Marshal(map[string]any{"kind": "compute#instanceAggregatedList", "nextPageToken": next, "items": map[string]any{
		"zones/europe-west1-b": map[string]any{"instances": instances},
		"zones/europe-west1-c": map[string]any{"warning": map[string]string{"code": "NO_RESULTS_ON_PAGE"}},
	}})
	return says(string(text))
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func fails(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", code) }
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{answers: map[string]http.HandlerFunc{
		interfacesAt: says(interfacesText),
		tokenAt:      says(tokenText),
		projectAt:    says("my-project"),
		instancesAt:  page("", "10.128.0.2", "10.128.0.7", "10.132.0.3"),
	}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.source = &discovery.GCE{
		Port: 14142, Log: slog.New(slog.NewTextHandler(&c.log, nil)),
		Alone:    func() bool { return true },
		Within:   c.within,
		Metadata: server.Listener.Addr().String(),
		Compute:  server.URL,
	}
	return c
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.asked = append(c.asked, r.URL.Path)
	answer := c.answers[r.URL.Path]
	c.mu.Unlock()
	switch {
	case strings.HasPrefix(r.URL.Path, "/computeMetadata/"):
		w.Header().Set("Metadata-Flavor", "Google")
		if r.Header.Get("Metadata-Flavor") != "Google" {
			answer = fails(http.StatusForbidden)
		}
	case r.Header.Get("Authorization") != "Bearer ya29.secret":
		answer = fails(http.StatusUnauthorized)
	}
	if answer == nil {
		answer = http.NotFound
	}
	answer(w, r)
}

func (c *cloud) heard(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.asked, path)
}

func (c *cloud) within(ranges []netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ranges = ranges
}

func (c *cloud) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.source.Run(ctx, func(f discovery.Found) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.found = append(c.found, f.Addrs...)
		})
	}()
	c.stop = func() { cancel(); <-ended }
	t.Cleanup(c.stop)
}

// await waits until what was found, and the ranges, are as wanted, in any order.
func (c *cloud) await(t *testing.T, ranges, found string) {
	t.Helper()
	got := func() string {
		c.mu.Lock()
		defer c.mu.Unlock()
		slices.SortFunc(c.found, netip.AddrPort.Compare)
		return fmt.Sprint(c.ranges, slices.Compact(c.found))
	}
	wait(t, func() bool { return got() == ranges+" "+found }, func() string {
		return "found " + got() + ", want " + ranges + " " + found + "; the log is " + c.log.String()
	})
}

func TestGCEConforms(t *testing.T) {
	var all []netip.AddrPort
	for _, ip := range []string{"10.128.0.7", "10.132.0.3"} {
		all = append(all, netip.AddrPortFrom(netip.MustParseAddr(ip), 14142))
	}
	c := newCloud(t)
	discoverytest.Conform(t, func(*testing.T) discovery.Source { return c.source }, all...)
}

func TestGCETellsRangesAndInstances(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	second := page("", "10.128.0.9", "10.128.0.10")
	c.answers[instancesAt] = func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("pageToken") == "two&" {
			second(w, r)
		} else {
			page("two&", "10.128.0.2", "garbage", "10.128.0.7")(w, r)
		}
	}
	c.run(t)
	c.await(t, "[10.128.0.2/20]", "[10.128.0.2:14142 10.128.0.7:14142 10.128.0.9:14142 10.128.0.10:14142]")
	wait(t, func() bool { return strings.Contains(c.log.String(), "1 addresses are none") }, c.log.String)
	if strings.Contains(c.log.String(), "secret") {
		t.Errorf("the log has the token: %s", &c.log)
	}
}

// Whatever the metadata server or the API says: it is named, and what else they said
// serves.
func TestGCEIsNotTrusted(t *testing.T) {
	const none, ranges, found = "[]", "[10.128.0.2/20]", "[10.128.0.2:14142 10.128.0.7:14142 10.132.0.3:14142]"
	huge := strings.Repeat("x", 1<<20)
	for _, v := range []struct {
		what          string
		at            string
		answer        http.HandlerFunc
		ranges, found string
		want          string // in the log
	}{
		{"not JSON", interfacesAt, says("<html>"), none, none, "in a form that is not known"},
		{"huge", interfacesAt, says("[" + strings.Repeat(" ", 1<<20) + "]"), none, none, "in a form that is not known"},
		{"no header", interfacesAt, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Del("Metadata-Flavor")
			fmt.Fprint(w, interfacesText)
		}, none, none, "not a metadata server"},
		{"elsewhere", interfacesAt, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, tokenAt, http.StatusFound) }, none, none, "302"},
		{"no networks", interfacesAt, nil, none, none, "not defined"},
		{"garbage addresses", interfacesAt, says(strings.Replace(interfacesText, "[{",
			`[{"ip":"10.0.0.1","subnetmask":"255.0.255.0"},{"ip":"fe80::1","subnetmask":"255.0.0.0"},{"ip":"`+huge[:1000]+`"},{"ip":"0.0.0.0","subnetmask":"0.0.0.0"},{`, 1)),
			ranges, found, "which is none"},
		{"a larger range", interfacesAt, says(strings.Replace(interfacesText, "255.255.240.0", "255.0.0.0", 1)), ranges, found, ""},
		{"not permitted", instancesAt, fails(http.StatusForbidden), ranges, none, "Compute Viewer"},
		{"API fails", instancesAt, fails(http.StatusInternalServerError), ranges, none, "500"},
		{"API sends elsewhere", instancesAt, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, ranges, none, "302"},
		{"API garbage", instancesAt, says(huge), ranges, none, "the answer is in a form that is not known"},
		{"another network", instancesAt, says(`{"items":{"z":{"instances":[{"networkInterfaces":[{"network":"x/other","networkIP":"10.1.1.1"}]}]}}}`), ranges, none, ""},
		{"no account", tokenAt, nil, ranges, none, "service account"},
		{"not a token", tokenAt, says(`"ya29.secret`), ranges, none, "gives a token in a form"},
		{"a token of many lines", tokenAt, says(`{"access_token":"ya29.secret\r\nX: y"}`), ranges, none, "list the instances"},
	} {
		t.Run(v.what, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			c.answers[v.at] = v.answer
			c.run(t)
			if v.want != "" {
				wait(t, func() bool { return strings.Contains(c.log.String(), v.want) }, func() string { return "the log is " + c.log.String() })
			} else {
				wait(t, func() bool { return c.heard(instancesAt) }, func() string { return "the instances are not asked for" })
			}
			c.await(t, v.ranges, v.found)
			c.stop()
			c.await(t, v.ranges, v.found)
			if log := c.log.String(); strings.Contains(log, "secret") || len(log) > 2000 {
				t.Errorf("the log is %s", log)
			}
		})
	}
}

// A node that has others lists no instances.
func TestGCEIsAskedForInstancesOnlyByNodesThatAreAlone(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.source.Alone = func() bool { return false }
	c.run(t)
	c.await(t, "[10.128.0.2/20]", "[]")
	c.stop()
	if c.heard(tokenAt) || c.heard(instancesAt) {
		t.Errorf("asked for %v", c.asked)
	}
}

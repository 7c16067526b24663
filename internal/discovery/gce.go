package discovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/compute/metadata"
)

const (
	gceAnswer     = 64 << 10 // octets of metadata
	gcePage       = 4 << 20  // octets of a page of instances
	gcePages      = 20
	gceInstances  = 4096 // addresses that are enough
	gceInterfaces = 8
	gceBits       = 20 // of a range, at least: it has scanMost addresses then

	gceLeast = 10 * time.Second // between looks
	gceAlone = time.Minute
	gceMost  = 10 * time.Minute
)

// GCE is the Source of the instances of a project of Google Compute Engine. It also
// tells which ranges the networks of this host have: its interfaces have a /32 each.
type GCE struct {
	trouble
	Port   uint16 // where other nodes listen, most likely
	Alone  func() bool
	Within func([]netip.Prefix) // is told the ranges that addresses of this host are in
	Log    *slog.Logger

	Metadata string // host and port of the metadata server; empty: where it always is
	Compute  string // URL of the API; empty: where it always is
}

// OnGCE reports whether this host shows that it is one of Google Compute Engine. It
// asks nobody.
func OnGCE() bool {
	product, _ := os.ReadFile("/sys/class/dmi/id/product_name")
	return os.Getenv("GCE_METADATA_HOST") != "" || strings.TrimSpace(string(product)) == "Google Compute Engine"
}

// Name implements Source.
func (*GCE) Name() string { return "gce" }

// Run implements Source.
func (g *GCE) Run(ctx context.Context, found func(Found)) error {
	return (&looker{
		trouble: &g.trouble,
		by:      g.Name(), log: g.Log,
		isAlone: g.Alone, least: gceLeast, alone: gceAlone, most: gceMost,
		look: g.look,
	}).run(ctx, found)
}

// look asks for the ranges, and while the node is alone for the instances: any of them
// will do.
func (g *GCE) look(ctx context.Context) ([]netip.AddrPort, error) {
	m := metadata.NewWithOptions(&metadata.Options{Client: &http.Client{Transport: g.transport(), CheckRedirect: stay}})
	ranges, networks, err := g.ranges(ctx, m)
	if len(ranges) > 0 {
		g.Within(ranges)
	}
	if len(networks) == 0 || !g.Alone() {
		return nil, err
	}
	all, e := g.instances(ctx, m, networks)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(len(all), lookMost)], errors.Join(err, e)
}

// stay has an HTTP client go where it was sent, and nowhere else.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// ranges returns the ranges of this host's interfaces, with its address in them, and
// the names of their networks.
func (g *GCE) ranges(ctx context.Context, m *metadata.Client) (ranges []netip.Prefix, networks []string, err error) {
	text, err := m.GetWithContext(ctx, "instance/network-interfaces/?recursive=true")
	if err != nil {
		return nil, nil, fmt.Errorf("ask the metadata server for the networks of this host: %w", shorter(err))
	}
	return parseRanges([]byte(text))
}

func parseRanges(text []byte) (ranges []netip.Prefix, networks []string, err error) {
	var interfaces []struct{ IP, Subnetmask, Network string }
	if err := json.Unmarshal(text, &interfaces); err != nil {
		return nil, nil, fmt.Errorf("the metadata server tells the networks of this host in a form that is not known: %w", shorter(err))
	}
	for _, i := range interfaces[:min(len(interfaces), gceInterfaces)] {
		ip, e1 := netip.ParseAddr(i.IP)
		mask, e2 := netip.ParseAddr(i.Subnetmask)
		bits, size := net.IPMask(mask.AsSlice()).Size()
		if e1 != nil || e2 != nil || !ip.Is4() || !mask.Is4() || size == 0 || bits == 0 || !ip.IsGlobalUnicast() {
			err = errors.Join(err, fmt.Errorf("the metadata server tells of the network %.20q/%.20q, which is none", i.IP, i.Subnetmask))
			continue
		}
		ranges = append(ranges, netip.PrefixFrom(ip, max(bits, gceBits)))
		networks = append(networks, path.Base(i.Network))
	}
	return ranges, networks, err
}

// instances returns where other nodes may be: at the addresses of the project's
// instances in some networks.
func (g *GCE) instances(ctx context.Context, m *metadata.Client, networks []string) (all []netip.AddrPort, failed error) {
	project, err := m.ProjectIDWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the metadata server for the project: %w", shorter(err))
	}
	text, err := m.GetWithContext(ctx, "instance/service-accounts/default/token")
	if err != nil {
		return nil, fmt.Errorf("ask the metadata server for a token to list the instances; has this instance a service account? %w", shorter(err))
	}
	var token struct {
		Access string `json:"access_token"`
	}
	if json.Unmarshal([]byte(text), &token) != nil || token.Access == "" {
		return nil, errors.New("the metadata server gives a token in a form that is not known") // which is not to be logged
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}, CheckRedirect: stay}
	query := url.Values{
		"maxResults":           {"500"},
		"filter":               {`status = "RUNNING"`},
		"returnPartialSuccess": {"true"},
		"fields":               {"nextPageToken,items/*/instances/networkInterfaces(network,networkIP)"},
	}
	for range gcePages {
		page := cmp.Or(g.Compute, "https://compute.googleapis.com") + "/compute/v1/projects/" + url.PathEscape(project) + "/aggregated/instances?" + query.Encode()
		next, addrs, err := g.page(ctx, client, page, token.Access, networks)
		all, failed = append(all, addrs...), errors.Join(failed, err)
		if next == "" || len(all) >= gceInstances {
			break
		}
		query.Set("pageToken", next)
	}
	return all, failed
}

// page returns the addresses of a page of instances, and what the next is called.
func (g *GCE) page(ctx context.Context, client *http.Client, page, token string, networks []string) (next string, all []netip.AddrPort, err error) {
	const what = "list the instances of the project"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return "", nil, fmt.Errorf(what+": %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		return "", nil, fmt.Errorf(what+": %w", shorter(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, gcePage))
	switch {
	case err != nil:
		return "", nil, fmt.Errorf(what+": %w", err)
	case response.StatusCode == http.StatusForbidden || response.StatusCode == http.StatusUnauthorized:
		return "", nil, fmt.Errorf(what+": %s: give the service account the role Compute Viewer, and this instance the scope compute-ro", response.Status)
	case response.StatusCode != http.StatusOK:
		return "", nil, fmt.Errorf(what+": %s", response.Status)
	}
	next, ips, err := parseInstances(body, networks)
	for _, ip := range ips {
		all = append(all, netip.AddrPortFrom(ip, g.Port))
	}
	if err != nil {
		err = fmt.Errorf(what+": %w", err)
	}
	return next, all, err
}

// parseInstances returns the addresses in some networks that are in a page of instances,
// and what the next page is called. What is wrong with some addresses does not matter to
// the others.
func parseInstances(body []byte, networks []string) (next string, all []netip.Addr, err error) {
	var list struct {
		NextPageToken string
		Items         map[string]struct {
			Instances []struct {
				NetworkInterfaces []struct{ Network, NetworkIP string }
			}
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return "", nil, fmt.Errorf("the answer is in a form that is not known: %w", shorter(err))
	}
	wrong := 0
	for _, zone := range list.Items {
		for _, instance := range zone.Instances {
			for _, i := range instance.NetworkInterfaces {
				ip, err := netip.ParseAddr(i.NetworkIP)
				switch {
				case err != nil || ip.Zone() != "":
					wrong++
				case slices.Contains(networks, path.Base(i.Network)):
					all = append(all, ip)
				}
			}
		}
	}
	if wrong > 0 {
		err = fmt.Errorf("%d addresses are none, and were skipped", wrong)
	}
	return list.NextPageToken, all, err
}

// transport asks the metadata server, and nobody else who may be there instead.
func (g *GCE) transport() http.RoundTripper {
	t := &http.Transport{DisableKeepAlives: true} // and no proxy
	if g.Metadata != "" {
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, g.Metadata)
		}
	}
	return flavored{t}
}

// flavored bounds answers, and refuses those that lack the header every metadata server
// sends.
type flavored struct{ http.RoundTripper }

func (f flavored) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := f.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.Header.Get("Metadata-Flavor") != "Google" {
		response.Body.Close()
		return nil, errors.New("who answers is not a metadata server")
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, gceAnswer), response.Body}
	return response, nil
}

// shorter returns an error that is short enough for a log, whatever a server put in it.
func shorter(err error) error {
	const most = 200
	if text := err.Error(); len(text) > most {
		return errors.New(strings.ToValidUTF8(text[:most], "") + "...")
	}
	return err
}

var _ Source = (*GCE)(nil)

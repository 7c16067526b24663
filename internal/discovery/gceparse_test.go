package discovery

import (
	"net/netip"
	"slices"
	"testing"
)

const (
	gceRanges    = `[{"ip":"10.128.0.2","network":"projects/1/networks/default","subnetmask":"255.255.240.0"},{"ip":"10.0.0.1","subnetmask":"255.0.0.0"}]`
	gceInstance  = `{"items":{"zones/a":{"instances":[{"networkInterfaces":[{"network":"n/default","networkIP":"10.128.0.7"}]}]}},"nextPageToken":"x"}`
	gceNoAddress = `{"items":{"zones/a":{"instances":[{"networkInterfaces":[{"network":"n/default","networkIP":"fe80::1%eth0"}]}]}}}`
)

func TestTruncatedMetadataIsRefused(t *testing.T) {
	for n := range len(gceRanges) {
		if ranges, _, err := parseRanges([]byte(gceRanges[:n])); err == nil || len(ranges) > 0 {
			t.Errorf("%q is read as %v", gceRanges[:n], ranges)
		}
	}
	for n := range len(gceInstance) {
		if _, all, err := parseInstances([]byte(gceInstance[:n]), []string{"default"}); err == nil || len(all) > 0 {
			t.Errorf("%q is read as %v", gceInstance[:n], all)
		}
	}
}

func FuzzParseMetadata(f *testing.F) {
	for _, text := range []string{gceRanges, gceInstance, gceNoAddress, `[{"ip":"::ffff:10.0.0.1","subnetmask":"::"}]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ranges, networks, _ := parseRanges(b)
		if len(ranges) != len(networks) || len(ranges) > gceInterfaces {
			t.Errorf("%d ranges of %d networks", len(ranges), len(networks))
		}
		for _, r := range ranges {
			if !r.IsValid() || !r.Addr().Is4() || 1<<(32-r.Bits()) > scanMost {
				t.Errorf("%q has the range %v, which is none to scan", b, r)
			}
		}
		_, all, err := parseInstances(b, []string{"default"})
		if slices.ContainsFunc(all, func(a netip.Addr) bool { return !a.IsValid() || a.Zone() != "" }) {
			t.Errorf("%q has the addresses %v, %v", b, all, err)
		}
	})
}

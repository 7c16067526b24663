package wire

import (
	"encoding/binary"
	"testing"
)

// TestLifeIsWrittenOver changes the life of requests with all kinds of extensions, cut
// anywhere, and finds everything else as it was.
func TestLifeIsWrittenOver(t *testing.T) {
	for _, typ := range []Type{TypeRequest, TypeTunnelOffer, TypeReply} {
		for _, flags := range []Flags{Named, Routed | Named, Routed | Trace | Named, Fragment | Named} {
			f := Frame{Type: typ, Flags: flags, Total: 100, Name: Name{Kind: Cluster}}
			head := RequestHead{Number: 7, Life: 1000, Timeout: 300}
			whole := head.AppendBody(f.AppendHead(nil, len(head.AppendBody(nil))))
			has := typ != TypeReply && flags&Fragment == 0
			found := 0
			for n := range len(whole) + 1 {
				if life := Life(whole[:n]); life != nil {
					binary.BigEndian.PutUint32(life, uint32(n))
					found++
				}
			}
			if !has {
				if found > 0 {
					t.Errorf("%v with flags %02x has a life to write over", typ, byte(flags))
				}
				continue
			}
			var got Frame
			if _, err := Parse(whole, &got); err != nil {
				t.Fatal(err)
			}
			h, _, err := ParseRequestHead(got.Body)
			head.Life = uint32(len(whole))
			if err != nil || h != head || found != 3 {
				t.Errorf("%v with flags %02x became %+v with error %v, written over %d times", typ, byte(flags), h, err, found)
			}
		}
	}
}

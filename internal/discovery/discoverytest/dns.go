package discoverytest

import (
	"encoding/binary"
	"io"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// A Zone is what a DNS server tells: of names, which end in a dot.
type Zone struct {
	Addrs map[string][]netip.Addr
	SRV   map[string][]dnsmessage.SRVResource
}

// Answer returns the answer to a query.
func (z Zone) Answer(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	name := q.Name.String()
	h.Response, h.RecursionAvailable, h.RCode = true, true, dnsmessage.RCodeSuccess
	if len(z.Addrs[name]) == 0 && len(z.SRV[name]) == 0 {
		h.RCode = dnsmessage.RCodeNameError
	}
	m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{q}}
	answer := func(body dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: body,
		})
	}
	for _, a := range z.Addrs[name] {
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			answer(&dnsmessage.AResource{A: a.As4()})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			answer(&dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	for _, srv := range z.SRV[name] {
		if q.Type == dnsmessage.TypeSRV {
			answer(&srv)
		}
	}
	return m.Pack()
}

// ServeDNS answers the queries on a stream until that ends.
func ServeDNS(stream io.ReadWriter, answer func(query []byte) ([]byte, error)) {
	for {
		var size [2]byte
		if _, err := io.ReadFull(stream, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(stream, query); err != nil {
			return
		}
		b, err := answer(query)
		if err != nil {
			return
		}
		if _, err := stream.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
			return
		}
	}
}

package relaywire

import "testing"

func TestParseAndAppendDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 4096)
	eachVector(t, func(t *testing.T, v *vector) {
		if v.unserved() {
			return
		}
		var m Message
		if n := testing.AllocsPerRun(100, func() {
			if _, err := v.parse(&DefaultLimits, v.Hex, &m); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("parsing allocates %v times", n)
		}
		if n := testing.AllocsPerRun(100, func() { v.append(buf, &m) }); n != 0 {
			t.Errorf("appending allocates %v times", n)
		}
		if n := testing.AllocsPerRun(100, func() { v.parse(&DefaultLimits, v.Hex[:len(v.Hex)-1], &m) }); n != 0 {
			t.Errorf("parsing a part allocates %v times", n)
		}
	})
}

var (
	benchRequest = Message{Op: Request, ID: 12345, Name: []byte("echo"), Body: make([]byte, 64), Timeout: 1000}
	benchChunk   = Message{Op: TunnelTransfer, ID: 7, Size: 1 << 20, Body: make([]byte, ChunkLimit)}
)

func BenchmarkParseRequest(b *testing.B) { benchmarkParse(b, &benchRequest) }
func BenchmarkParseChunk(b *testing.B)   { benchmarkParse(b, &benchChunk) }

func benchmarkParse(b *testing.B, m *Message) {
	eachDialect(b, func(b *testing.B, d Dialect) {
		in := d.AppendToNode(nil, m)
		b.ReportAllocs()
		var out Message
		for b.Loop() {
			if _, err := d.ParseToNode(&DefaultLimits, in, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendRequest(b *testing.B) { benchmarkAppend(b, &benchRequest) }
func BenchmarkAppendChunk(b *testing.B)   { benchmarkAppend(b, &benchChunk) }

func benchmarkAppend(b *testing.B, m *Message) {
	eachDialect(b, func(b *testing.B, d Dialect) {
		out := d.AppendToClient(nil, m)
		b.ReportAllocs()
		b.SetBytes(int64(len(out)))
		for b.Loop() {
			out = d.AppendToClient(out[:0], m)
		}
	})
}

func eachDialect(b *testing.B, bench func(b *testing.B, d Dialect)) {
	for _, d := range dialects {
		b.Run(d.String(), func(b *testing.B) { bench(b, d) })
	}
}

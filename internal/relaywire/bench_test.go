package relaywire

import "testing"

func TestParseAndAppendDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for _, v := range readVectors(t).Message {
		var m Message
		if n := testing.AllocsPerRun(100, func() {
			if _, err := v.parse(&DefaultLimits, v.Hex, &m); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: parsing allocates %v times", v.Name, n)
		}
		if n := testing.AllocsPerRun(100, func() { v.append(buf, &m) }); n != 0 {
			t.Errorf("%s: appending allocates %v times", v.Name, n)
		}
		if n := testing.AllocsPerRun(100, func() { v.parse(&DefaultLimits, v.Hex[:len(v.Hex)-1], &m) }); n != 0 {
			t.Errorf("%s: parsing a part allocates %v times", v.Name, n)
		}
	}
}

var (
	benchRequest = Message{Op: Request, ID: 12345, Name: []byte("echo"), Body: make([]byte, 64), Timeout: 1000}
	benchChunk   = Message{Op: TunnelTransfer, ID: 7, Size: 1 << 20, Body: make([]byte, ChunkLimit)}
)

func BenchmarkParseRequest(b *testing.B) { benchmarkParse(b, &benchRequest) }
func BenchmarkParseChunk(b *testing.B)   { benchmarkParse(b, &benchChunk) }

func benchmarkParse(b *testing.B, m *Message) {
	in := m.AppendToNode(nil)
	b.ReportAllocs()
	var out Message
	for b.Loop() {
		if _, err := DefaultLimits.ParseToNode(in, &out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) { benchmarkAppend(b, &benchRequest) }
func BenchmarkAppendChunk(b *testing.B)   { benchmarkAppend(b, &benchChunk) }

func benchmarkAppend(b *testing.B, m *Message) {
	out := m.AppendToClient(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(out)))
	for b.Loop() {
		out = m.AppendToClient(out[:0])
	}
}

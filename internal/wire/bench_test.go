package wire

import "testing"

// hot are the frames that every message of a program takes.
var hot = []struct {
	name  string
	frame []byte
	parse func(body []byte) error
	write func(b []byte) []byte
}{
	{"Request", octets(dataFrames[1].head + dataFrames[1].body + "6869"),
		func(b []byte) error { _, _, err := ParseRequestHead(b); return err },
		func(b []byte) []byte { return appendHot(b, &dataFrames[1].f, RequestHead{1, 5000, 5000}) }},
	{"Reply", octets(dataFrames[3].head + dataFrames[3].body + "6869"),
		func(b []byte) error { _, _, err := ParseReplyHead(b); return err },
		func(b []byte) []byte { return appendHot(b, &dataFrames[3].f, ReplyHead{1, ReplyOK, Load{3, 4, 5}}) }},
	{"NotStarted", octets(dataFrames[4].head + dataFrames[4].body),
		func(b []byte) error { _, err := ParseNotStarted(b); return err },
		func(b []byte) []byte { return appendHot(b, &dataFrames[4].f, NotStarted{1, Busy, Load{3, 4, 5}}) }},
	{"Cancel", octets(dataFrames[5].head + dataFrames[5].body),
		func(b []byte) error { _, err := ParseCancel(b); return err },
		func(b []byte) []byte { return appendHot(b, &dataFrames[5].f, Cancel{1}) }},
	{"Publish", octets(dataFrames[6].head + dataFrames[6].body + "6869"),
		func(b []byte) error { _, _, err := ParsePublishHead(b); return err },
		func(b []byte) []byte { return appendHot(b, &dataFrames[6].f, PublishHead{Number: 1}) }},
	{"Gap", octets(dataFrames[8].head + dataFrames[8].body),
		func(b []byte) error { _, err := ParseGap(b); return err },
		func(b []byte) []byte { return appendHot(b, &dataFrames[8].f, Gap{0, 1, 2, 3}) }},
	{"Digest", octets(dataFrames[9].head + dataFrames[9].body),
		func(b []byte) error { _, err := ParseDigest(b); return err },
		func(b []byte) []byte { return appendHot(b, &dataFrames[9].f, Digest{0, 1}) }},
	{"Chunk", octets(dataFrames[12].head + dataFrames[12].body + "686921"),
		func(b []byte) error { _, _, err := ParseChunkHead(b); return err },
		func(b []byte) []byte { return appendHot(b, &dataFrames[12].f, ChunkHead{128}) }},
	{"Credit", octets(dataFrames[13].head + dataFrames[13].body),
		func(b []byte) error { _, err := ParseCredit(b); return err },
		func(b []byte) []byte { return appendHot(b, &dataFrames[13].f, Credit{4 << 20}) }},
}

func appendHot[T appender](b []byte, f *Frame, m T) []byte {
	return m.AppendBody(f.AppendHead(b, 30))
}

func TestDataPlaneDoesNotAlloc(t *testing.T) {
	buf := make([]byte, 0, 256)
	for _, v := range hot {
		var f Frame
		if n := testing.AllocsPerRun(100, func() {
			if _, err := Parse(v.frame, &f); err != nil {
				t.Fatal(err)
			}
			if err := v.parse(f.Body); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: parsing allocates %v times", v.name, n)
		}
		if n := testing.AllocsPerRun(100, func() { Parse(v.frame[:len(v.frame)-1], &f) }); n != 0 {
			t.Errorf("%s: parsing a part allocates %v times", v.name, n)
		}
		if n := testing.AllocsPerRun(100, func() { v.write(buf) }); n != 0 {
			t.Errorf("%s: appending allocates %v times", v.name, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, v := range hot {
		b.Run(v.name, func(b *testing.B) {
			b.ReportAllocs()
			var f Frame
			for b.Loop() {
				if _, err := Parse(v.frame, &f); err != nil {
					b.Fatal(err)
				}
				if err := v.parse(f.Body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, v := range hot {
		b.Run(v.name, func(b *testing.B) {
			b.ReportAllocs()
			out := make([]byte, 0, 256)
			for b.Loop() {
				out = v.write(out[:0])
			}
		})
	}
}

package ring

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

func TestIDsAreThoseOfTheVectors(t *testing.T) {
	data, err := os.ReadFile("testdata/ids.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Key []struct {
			Network, Name, Key string
			Kind, Split        byte
		}
		Node []struct{ Network, SPKI, ID string } `json:"node_id"`
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Key) == 0 || len(vectors.Node) == 0 {
		t.Fatal("a part of the vectors is missing")
	}
	for _, v := range vectors.Key {
		if got := Key(v.Network, v.Kind, v.Name, v.Split).String(); got != v.Key {
			t.Errorf("Key(%q, %d, %q, %d) = %s, want %s", v.Network, v.Kind, v.Name, v.Split, got, v.Key)
		}
	}
	for _, v := range vectors.Node {
		spki, err := hex.DecodeString(v.SPKI)
		if err != nil {
			t.Fatal(err)
		}
		if got := Node(v.Network, spki).String(); got != v.ID {
			t.Errorf("Node(%q, %s) = %s, want %s", v.Network, v.SPKI, got, v.ID)
		}
	}
}

// Two names that differ only in where their fields end must not meet.
func TestFramingSeparatesFields(t *testing.T) {
	if Key("ab", 1, "c", 0) == Key("a", 1, "bc", 0) {
		t.Error("keys of ab/c and a/bc are the same")
	}
	if Node("a", []byte("bc")) == Node("ab", []byte("c")) {
		t.Error("ids of a/bc and ab/c are the same")
	}
}

func TestTextAndOctetsOfAnID(t *testing.T) {
	const text = "ab2a25df267d896570f2d9c3c3be119d"
	id, err := Parse(text)
	if err != nil || id != (ID{0xab2a25df267d8965, 0x70f2d9c3c3be119d}) {
		t.Fatalf("Parse = %v, %v", id, err)
	}
	if id.String() != text || id.Short() != text[:8] {
		t.Errorf("String %s, Short %s; want %s", id, id.Short(), text)
	}
	want, _ := hex.DecodeString("ff" + text)
	if got := id.Append([]byte{0xff}); !bytes.Equal(got, want) {
		t.Errorf("Append = %x, want %x", got, want)
	}
	if got := FromBytes(append(want[1:], 9)); got != id {
		t.Errorf("FromBytes = %v, want %v", got, id)
	}
	if (ID{0, 1}).String() != "00000000000000000000000000000001" || (ID{0, 1}).IsZero() || !(ID{}).IsZero() {
		t.Error("small ids are not padded, or taken for nobody's")
	}
	for _, bad := range []string{"", text[1:], text + "00", "g" + text[1:]} {
		if id, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %v", bad, id)
		}
	}
}

func TestClosestOwns(t *testing.T) {
	const most = 1<<64 - 1
	for _, v := range []struct {
		what      string
		key, a, b ID
		want      bool
	}{
		{"nearer", ID{0, 10}, ID{0, 11}, ID{0, 8}, true},
		{"on the key", ID{0, 10}, ID{0, 10}, ID{0, 9}, true},
		{"as near, smaller", ID{0, 10}, ID{0, 8}, ID{0, 12}, true},
		{"as near, larger", ID{0, 10}, ID{0, 12}, ID{0, 8}, false},
		{"over zero", ID{0, 1}, ID{most, most}, ID{0, 4}, true},
		{"over zero, from below", ID{most, most}, ID{0, 1}, ID{most, most - 3}, true},
		{"as near over zero, smaller", ID{}, ID{0, 5}, ID{most, most - 4}, true},
		{"opposite", ID{}, ID{1 << 63, 0}, ID{1<<63 - 1, most}, false},
		{"high half decides", ID{5, 0}, ID{5, most}, ID{7, 0}, true},
		{"itself", ID{5, 0}, ID{4, 0}, ID{4, 0}, false},
	} {
		if got := Closer(v.key, v.a, v.b); got != v.want {
			t.Errorf("%s: Closer(%v, %v, %v) = %t, want %t", v.what, v.key, v.a, v.b, got, v.want)
		}
	}
}

// drawn are ids of all sizes, many of them close together or opposite.
func drawn() []ID {
	r := rand.New(rand.NewPCG(1, 2))
	ids := []ID{{}, {0, 1}, {0, 1<<64 - 1}, {1, 0}, {1 << 63, 0}, {1<<63 - 1, 1<<64 - 1}, {1<<64 - 1, 1<<64 - 1}}
	for range 40 {
		a := ID{r.Uint64(), r.Uint64()}
		ids = append(ids, a, ID{a.Hi, a.Lo + 1}, ID{a.Hi ^ 1<<63, a.Lo}, ID{0, a.Lo >> r.IntN(64)})
	}
	return ids
}

func number(a ID) *big.Int { return new(big.Int).SetBytes(a.Append(nil)) }

func TestArithmeticIsThatOfNumbers(t *testing.T) {
	circle := new(big.Int).Lsh(big.NewInt(1), 128)
	for _, a := range drawn() {
		for _, b := range drawn() {
			if got, want := a.Compare(b), number(a).Cmp(number(b)); got != want || a.Less(b) != (want < 0) {
				t.Fatalf("%v.Compare(%v) = %d, Less %t; want %d", a, b, got, a.Less(b), want)
			}
			sub := new(big.Int).Sub(number(a), number(b))
			if sub.Mod(sub, circle); number(a.Sub(b)).Cmp(sub) != 0 {
				t.Fatalf("%v.Sub(%v) = %v, want %x", a, b, a.Sub(b), sub)
			}
			other := new(big.Int).Sub(circle, sub)
			if other.Cmp(sub) < 0 {
				sub = other
			}
			if number(a.Distance(b)).Cmp(sub) != 0 {
				t.Fatalf("%v.Distance(%v) = %v, want %x", a, b, a.Distance(b), sub)
			}
		}
	}
}

func TestDistanceIsAMetric(t *testing.T) {
	ids := drawn()
	for i, a := range ids {
		for _, b := range ids {
			d := a.Distance(b)
			if d != b.Distance(a) || d.IsZero() != (a == b) || (ID{1 << 63, 0}).Less(d) {
				t.Fatalf("%v and %v are %v apart, and %v", a, b, d, b.Distance(a))
			}
			c := ids[(i*7+3)%len(ids)]
			sum := new(big.Int).Add(number(a.Distance(c)), number(c.Distance(b)))
			if number(d).Cmp(sum) > 0 {
				t.Fatalf("from %v to %v is further than by %v", a, b, c)
			}
		}
	}
}

// Whatever the order nodes are met in, one of them owns a key.
func TestExactlyOneOwns(t *testing.T) {
	ids := drawn()
	slices.SortFunc(ids, ID.Compare)
	ids = slices.Compact(ids)
	owner := func(key ID, nodes []ID) ID {
		best := nodes[0]
		for _, n := range nodes[1:] {
			if Closer(key, n, best) {
				best = n
			}
		}
		return best
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, key := range ids {
		want := owner(key, ids)
		for range 5 {
			r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
			if got := owner(key, ids); got != want {
				t.Fatalf("key %v is owned by %v and %v", key, got, want)
			}
		}
		for _, n := range ids {
			if n != want && (Closer(key, n, want) || !Closer(key, want, n)) {
				t.Fatalf("key %v: %v and %v both own, or none", key, n, want)
			}
		}
	}
}

func TestArithmeticDoesNotAlloc(t *testing.T) {
	a, b, key := ID{1, 2}, ID{3, 4}, ID{5, 6}
	buf := make([]byte, 0, Size)
	if n := testing.AllocsPerRun(100, func() {
		if Closer(key, a, b) {
			t.Fatal("wrong owner")
		}
		buf = a.Distance(b).Append(buf[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCloser(b *testing.B) {
	b.ReportAllocs()
	key, x, y := ID{5, 6}, ID{1, 2}, ID{9, 4}
	for b.Loop() {
		Closer(key, x, y)
	}
}

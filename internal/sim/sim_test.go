package sim

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func run(t *testing.T, name string, size int, seed uint64) Report {
	t.Helper()
	s, ok := Find(name, size)
	if !ok {
		t.Fatalf("there is no scenario %s", name)
	}
	r := Run(s, seed, nil)
	if testing.Verbose() && false || !r.OK() {
		r.Print(os.Stdout)
	}
	if !r.OK() {
		t.Errorf("%s, %d nodes, seed %d: %d rules did not hold", name, size, seed, r.Broken)
	}
	return r
}

func TestAll(t *testing.T) {
	for _, size := range []int{3, 10, 50, 100} {
		for _, s := range Scenarios(size) {
			if s.Name == "split-hour" {
				continue
			}
			b := time.Now()
			t.Run(fmt.Sprint(s.Name, size), func(t *testing.T) { run(t, s.Name, size, 1) })
			fmt.Println(s.Name, size, time.Since(b))
		}
	}
}

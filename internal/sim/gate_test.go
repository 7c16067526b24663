package sim

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestGates runs the scenarios that the environment names; without, nothing.
func TestGates(t *testing.T) {
	size, _ := strconv.Atoi(os.Getenv("SIM_SIZE"))
	if size == 0 {
		return
	}
	seeds, _ := strconv.Atoi(os.Getenv("SIM_SEEDS"))
	names := strings.Split(os.Getenv("SIM"), ",")
	if names[0] == "all" {
		names = nil
		for _, s := range Scenarios(size) {
			names = append(names, s.Name)
		}
	}
	for _, name := range names {
		bad := 0
		for seed := range max(seeds, 1) {
			s, ok := Find(name, size)
			if !ok {
				t.Fatal(name)
			}
			began := time.Now()
			r := Run(s, uint64(seed+1), nil)
			if seeds == 0 || !r.OK() {
				r.Print(os.Stdout)
				fmt.Println("  real time", time.Since(began))
				bad++
			}
		}
		fmt.Println(name, size, "bad", bad, "of", seeds)
	}
}

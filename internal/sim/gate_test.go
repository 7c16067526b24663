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
	for _, name := range strings.Split(os.Getenv("SIM"), ",") {
		for seed := range max(seeds, 1) {
			s, ok := Find(name, size)
			if !ok {
				t.Fatal(name)
			}
			began := time.Now()
			r := Run(s, uint64(seed+1), nil)
			r.Print(os.Stdout)
			fmt.Println("  real time", time.Since(began))
		}
	}
}

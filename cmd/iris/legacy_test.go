package main

import (
	"slices"
	"strings"
	"testing"
)

func TestLegacyFlagsStartANode(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"-dev", "node --dev"},
		{"--dev", "node --dev"},
		{"-dev=false", "node --dev=false"},
		{"-port 55556 -dev", "node --port=55556 --dev"},
		{"-port=55556 --dev=true", "node --port=55556 --dev=true"},
		{"-net demo -rsa demo.key", "node --net=demo --key=demo.key"},
		{"-net=a=b", "node --net=a=b"},
		{"-net -dev", "node --net=-dev"},
		{"-dev -cpuprof c -heapprof h -blockprof b", "node --dev --cpuprof=c --heapprof=h --blockprof=b"},
		{"-rsa", "node --key"},
		{"-dev --log-level debug", "node --dev --log-level debug"},
		{"-dev more", "node --dev more"},
		{"-help", "--help"},

		{"", ""},
		{"node --dev", "node --dev"},
		{"status --port 55556", "status --port 55556"},
		{"dev", "dev"},
		{"-key demo.key", "-key demo.key"},
		{"---dev", "---dev"},
		{"-Dev", "-Dev"},
		{"-", "-"},
		{"--", "--"},
		{"-h", "-h"},
	} {
		args := strings.Fields(test.args)
		before := slices.Clone(args)
		if got := legacy(args); !slices.Equal(got, strings.Fields(test.want)) {
			t.Errorf("legacy(%q) = %q, want %q", args, got, test.want)
		}
		if !slices.Equal(args, before) {
			t.Errorf("legacy changed its argument %q to %q", before, args)
		}
	}
}

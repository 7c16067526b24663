//go:build !linux

package main

import (
	"context"
	"errors"
)

var errUnable = errors.New("hosts are network namespaces, which only Linux has")

// A lan is what only Linux has.
type lan struct{}

func newLAN(int) (lan, error) { return lan{}, errUnable }

func (lan) close()                                    {}
func (lan) on(int) starter                            { return nil }
func (lan) ip(int) string                             { return "" }
func (lan) listens(context.Context, int, string) bool { return false }

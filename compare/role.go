package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// A role is what a process that this program started of itself does, until the
// end of its standard input. Its arguments are
//
//	as hub SYSTEM PATH         PATH of the floor's Unix socket, or of the
//	                           configuration of a NATS server among others
//	as service SYSTEM ADDRESS
//	as client SYSTEM ADDRESS
//
// It tells with one line that it is ready; a hub's line is its TCP address. A
// client then answers orders.
type role struct {
	part    string // hub, service, client
	system  system
	address string
}

func (r role) args() []string { return []string{"as", r.part, r.system.String(), r.address} }

func (r role) String() string { return r.system.String() + " " + r.part }

// roleOf returns the role that the arguments of a process give it.
func roleOf(args []string) (r role, ok bool) {
	if len(args) != 5 || args[1] != "as" {
		return role{}, false
	}
	r.part, r.address = args[2], args[4]
	r.system, ok = parseSystem(args[3])
	return r, ok
}

func (r role) play() error {
	err := r.perform()
	if err != nil {
		err = fmt.Errorf("%v: %w", r, err)
	}
	return err
}

func (r role) perform() error {
	ready := "ready"
	var program requester
	var err error
	switch r.part + " " + r.system.Fabric {
	case "hub floor":
		ready, err = startFloor(r.address)
	case "hub nats":
		ready, err = startNATS(r.system, r.address)
	case "service floor":
		err = serveFloor(r.system, r.address)
	case "service nats":
		err = serveNATS(r.address)
	case "service iris":
		err = serveIris(r.system, r.address)
	case "client floor":
		program, err = connectFloor(r.system, r.address)
	case "client nats":
		program, err = clientNATS(r.address)
	case "client iris":
		program, err = connectIris(r.system, r.address)
	default:
		err = errors.New("there is no such role")
	}
	if err != nil {
		return err
	}
	fmt.Println(ready)
	if r.part == "client" {
		return obey(program)
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// obey carries out the orders that come on standard input.
func obey(program requester) error {
	loads := make(map[string]load) // each prepared once
	orders, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := orders.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		l, ok := loads[o.Load]
		var err error
		if !ok {
			if l, err = newLoad(o.Load, program); err == nil {
				loads[o.Load] = l
			}
		}
		if err == nil {
			a.Result, err = o.carryOut(l)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

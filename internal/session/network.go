package session

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckNetwork reports what is wrong with name as the name of a network: it
// has 1 to 255 octets of UTF-8 without control characters. Names are compared
// by octet, so no two spellings of one text are the same network.
func CheckNetwork(name string) error {
	switch {
	case name == "":
		return errors.New("the network needs a name of 1 to 255 octets")
	case len(name) > 255:
		return fmt.Errorf("the name of the network has %d octets, 255 are the most", len(name))
	case !utf8.ValidString(name):
		return fmt.Errorf("the name of the network, %q, is not UTF-8", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("the name of the network, %q, has a control character", name)
	}
	return nil
}

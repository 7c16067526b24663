package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A port is a flag with a TCP port.
type port int

func (p *port) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return errors.New("a port is a number from 0 to 65535")
	}
	*p = port(n)
	return nil
}

func (p *port) String() string { return strconv.Itoa(int(*p)) }
func (p *port) Type() string   { return "PORT" }

// uids is a flag with users that may be repeated.
type uids []int

func (u *uids) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return errors.New("a user is given by number, which \"id -u NAME\" tells")
	}
	*u = append(*u, int(n))
	return nil
}

// Append, Replace and GetSlice make uids a list, as pflag knows it.
func (u *uids) Append(s string) error { return u.Set(s) }

func (u *uids) Replace(all []string) (err error) {
	var fresh uids
	for _, s := range all {
		err = errors.Join(err, fresh.Set(s))
	}
	*u = fresh
	return err
}

func (u *uids) GetSlice() (all []string) {
	for _, uid := range *u {
		all = append(all, strconv.Itoa(uid))
	}
	return all
}

func (u *uids) String() string { return "" }
func (u *uids) Type() string   { return "UID" }

// A size is a flag with a number of octets.
type size int64

// units are the suffixes of a size.
var units = []string{"", "K", "M", "G", "T"}

func (s *size) Set(text string) error {
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	n, err := strconv.ParseInt(text[:digits], 10, 64)
	if err != nil {
		return errors.New("a size is a number with K, M, G or T, such as 512M")
	}
	suffix := strings.ToUpper(text[digits:])
	if len(suffix) == 3 {
		suffix = strings.TrimSuffix(suffix, "IB")
	}
	exponent := slices.Index(units, suffix)
	if exponent < 0 {
		return fmt.Errorf("unknown suffix %q: use K, M, G, T or KiB, MiB, GiB, TiB, powers of 1024", text[digits:])
	}
	if n > math.MaxInt64>>(10*exponent) {
		return errors.New("it is too large")
	}
	*s = size(n << (10 * exponent))
	return nil
}

// String returns s exactly, as Set takes it.
func (s *size) String() string {
	n, unit := int64(*s), 0
	for n != 0 && n%(1<<10) == 0 && unit < len(units)-1 {
		n, unit = n>>10, unit+1
	}
	return strconv.FormatInt(n, 10) + units[unit]
}

func (s *size) Type() string { return "SIZE" }

// octets returns n as people read it, such as "1.5 MiB".
func octets(n int64) string {
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, unit := float64(n), 0
	for f >= 1<<10 && unit < len(units)-1 {
		f, unit = f/(1<<10), unit+1
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") + " " + units[unit] + "iB"
}

// A choice is a flag with one of a few words.
type choice struct {
	value string
	words []string
}

func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("it is one of %s", strings.Join(c.words, ", "))
	}
	c.value = s
	return nil
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "WORD" }

// A span is a flag with a length of time.
type span time.Duration

func (s *span) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("a time is a number with its unit, such as 500ms, 10s or 5m")
	}
	*s = span(d)
	return nil
}

// String returns s, as Set takes it; zero so that help shows no default.
func (s *span) String() string {
	if *s == 0 {
		return "0"
	}
	return time.Duration(*s).String()
}

func (s *span) Type() string { return "DURATION" }

// A count is a flag with a number from 1 up.
type count int

func (c *count) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return errors.New("it is a number from 1 to 2147483647")
	}
	*c = count(n)
	return nil
}

// String returns c; of zero, which stands for a default, nothing.
func (c *count) String() string {
	if *c == 0 {
		return ""
	}
	return strconv.Itoa(int(*c))
}

func (c *count) Type() string { return "N" }

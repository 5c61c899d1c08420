package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/quorumail/quorumail/store"
)

// Setting describes one setting of the cluster, whatever its type.
type Setting struct {
	Name    string
	Type    string // "size", "number", "number per listener", "duration", "yes or no", "networks", "text"
	Default string // as Normalize writes it
	Range   string // for people: "64KiB to 1GiB"
	Doc     string
	// Normalize checks a value as a person writes it and returns the form in which it is stored and shown. The error says what would be
	// right.
	Normalize func(value string) (string, error)
}

// Lookup finds the stored value of a setting, and whether there is one.
type Lookup func(name string) (value string, ok bool)

// SettingOf is a setting whose value is a T.
type SettingOf[T any] struct {
	Setting
	parse func(string) (T, error)
	value T // the default
}

// From returns the setting's value: the stored one, or the default if there is none or a version of the program with other limits
// stored it.
func (s SettingOf[T]) From(lookup Lookup) T {
	if text, ok := lookup(s.Name); ok {
		if v, err := s.parse(text); err == nil {
			return v
		}
	}
	return s.value
}

// newSetting builds the setting; parse is followed by check.
func newSetting[T any](name, kind string, value T, span, doc string, parse func(string) (T, error), check func(T) error, format func(T) string) SettingOf[T] {
	s := SettingOf[T]{value: value}
	s.parse = func(text string) (T, error) {
		v, err := parse(strings.TrimSpace(text))
		if err == nil {
			err = check(v)
		}
		if err != nil {
			return v, fmt.Errorf("%s: %w", name, err)
		}
		return v, nil
	}
	s.Setting = Setting{Name: name, Type: kind, Default: format(value), Range: span, Doc: doc, Normalize: func(text string) (string, error) {
		v, err := s.parse(text)
		if err != nil {
			return "", err
		}
		return format(v), nil
	}}
	return s
}

// within checks a range, and says it as the setting's format does.
func within[T int | int64 | time.Duration](least, most T, format func(T) string) (span string, check func(T) error) {
	span = format(least) + " to " + format(most)
	return span, func(v T) error {
		if v < least || v > most {
			return fmt.Errorf("%s is out of range: choose %s", format(v), span)
		}
		return nil
	}
}

func sizeSetting(name string, value, least, most int64, doc string) SettingOf[int64] {
	span, check := within(least, most, store.FormatSize)
	return newSetting(name, "size", value, span, doc, store.ParseSize, check, store.FormatSize)
}

func intSetting(name string, value, least, most int, doc string) SettingOf[int] {
	span, check := within(least, most, strconv.Itoa)
	parse := func(s string) (int, error) { return parseNumber(s, span) }
	return newSetting(name, "number", value, span, doc, parse, check, strconv.Itoa)
}

func durationSetting(name string, value, least, most time.Duration, doc string) SettingOf[time.Duration] {
	span, check := within(least, most, formatDuration)
	parse := func(s string) (time.Duration, error) {
		if s == "0" {
			return 0, nil
		}
		return parseDuration(s)
	}
	return newSetting(name, "duration", value, span, doc, parse, check, formatDuration)
}

func boolSetting(name string, value bool, doc string) SettingOf[bool] {
	parse := func(s string) (bool, error) {
		switch strings.ToLower(s) {
		case "yes", "true", "on":
			return true, nil
		case "no", "false", "off":
			return false, nil
		}
		return false, fmt.Errorf("%q is neither yes nor no", s)
	}
	format := func(v bool) string {
		if v {
			return "yes"
		}
		return "no"
	}
	return newSetting(name, "yes or no", value, "", doc, parse, func(bool) error { return nil }, format)
}

// maxNetworks bounds a list of networks.
const maxNetworks = 256

func networksSetting(name, doc string) SettingOf[[]netip.Prefix] {
	count := func(list []netip.Prefix) error {
		if len(list) > maxNetworks {
			return fmt.Errorf("%d networks: choose %d at most", len(list), maxNetworks)
		}
		return nil
	}
	return newSetting(name, "networks", nil, "", doc, parseNetworks, count, formatNetworks)
}

// parseNetworks reads addresses and networks with commas between them.
func parseNetworks(s string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		p, err := parseNetwork(part)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is no network: write one such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has bits behind its length: did you mean %s?", s, p.Masked())
	}
	return p, nil
}

func formatNetworks(list []netip.Prefix) string {
	var parts []string
	for _, p := range list {
		if p.IsSingleIP() {
			parts = append(parts, p.Addr().String())
		} else {
			parts = append(parts, p.String())
		}
	}
	return strings.Join(parts, ", ")
}

func textSetting(name, value string, check func(string) error, doc string) SettingOf[string] {
	same := func(s string) string { return s }
	return newSetting(name, "text", value, "", doc, func(s string) (string, error) { return s, nil }, check, same)
}

package store

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Settings of the cluster that Apply itself reads. Their names, their defaults and how their values are read are part of the replicated
// format: all nodes, of whatever version, must read them alike.
const (
	// SettingQuotaBytes: the bytes that an account without a quota of its own may hold, as ParseSize reads it. 0, the default: no limit.
	SettingQuotaBytes = "account.quota_bytes"
	// SettingQuotaMessages: the same for messages, a whole number.
	SettingQuotaMessages = "account.quota_messages"
	// SettingMaxMailboxes: the mailboxes that an account may have, a whole number. DefaultMaxMailboxes when it is not set.
	SettingMaxMailboxes = "mailbox.max_per_account"
	// SettingPlusSeparator: what sets off the detail in an address (RFC 5233). "+" when it is not set; "" for nothing.
	SettingPlusSeparator = "delivery.plus_separator"
	// SettingTraceDays: the days for which traces of messages are kept, a whole number. DefaultTraceDays when it is not set.
	SettingTraceDays = "trace.keep_days"
)

// DefaultTraceDays is how long traces of messages are kept.
const DefaultTraceDays = 14

// DefaultMaxMailboxes is how many mailboxes an account may have.
const DefaultMaxMailboxes = 10_000

// Unlimited is an account's quota that is no limit, whatever the cluster's default is.
const Unlimited = -1

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}}

// ParseSize reads a whole number of bytes with a unit: "50MiB", "1 GB", "0".
func ParseSize(s string) (bytes int64, err error) {
	digits, unit := s, int64(1)
	for _, u := range sizeUnits {
		if n := len(s) - len(u.name); n >= 0 && strings.EqualFold(s[n:], u.name) {
			digits, unit = strings.TrimRight(s[:n], " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size: write a whole number with its unit, such as \"512KiB\", \"50MiB\" or \"1GiB\"", s)
	}
	return int64(n) * unit, nil
}

// FormatSize writes what ParseSize reads, in the largest unit that is exact.
func FormatSize(bytes int64) string {
	for _, u := range sizeUnits[:4] {
		if bytes != 0 && bytes%u.bytes == 0 {
			return strconv.FormatInt(bytes/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(bytes, 10) + "B"
}

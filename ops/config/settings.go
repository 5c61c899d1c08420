package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/store"
)

// perListener is said of each setting that has a number for each listener.
const perListener = " One listener's own number stands behind it: \"1000, submission=500, lmtp=5000\"."

// The settings of the whole cluster. Each is a handle with the setting's type: SMTPMaxRecipients.From(lookup).
var (
	SMTPMaxRecipients = listenerSetting("smtp.max_recipients", 1000, 100, 10_000,
		"Most recipients of one message; the client is told to send the rest in another. RFC 5321 asks for 100 at least."+perListener)
	SMTPMaxConnections = listenerSetting("smtp.max_connections", 0, 0, 1_000_000,
		"Connections of a listener at each node at once, if that is less than limits.max_connections in the node's own configuration. 0 leaves it to that."+perListener)
	SMTPMaxConnectionsPerAddress = listenerSetting("smtp.max_connections_per_address", 50, 1, 1_000_000,
		"Connections of a listener at each node at once from one address (IPv6: one /64); the node itself may open as many as it likes."+perListener)
	SMTPMaxCommands = listenerSetting("smtp.max_commands", 1000, 20, 1_000_000,
		"Commands of a connection since its last message, RCPT not counted, before it is closed."+perListener)
	SMTPMaxErrors = listenerSetting("smtp.max_errors", 25, 1, 10_000,
		"Refusals (4xx and 5xx) of a connection since its last message before it is closed."+perListener)
	SMTPMaxUnrecognised = listenerSetting("smtp.max_unrecognised", 4, 1, 1000,
		"What is no command of SMTP at all, of a connection, before it is closed: who sends that is no mail program."+perListener)
	SMTPMaxFailedLogins = listenerSetting("smtp.max_failed_logins", 3, 1, 1000,
		"Failed logins of a connection before it is closed."+perListener)
	SMTPMaxMessageBytes = sizeSetting("smtp.max_message_bytes", 50<<20, 64<<10, 512<<20,
		"Largest message that is taken. RFC 5321 asks for 64 KiB at least.")
	SMTPTrustedNetworks = networksSetting("smtp.trusted_networks",
		"Clients of port 25 that may send to any domain without a login, and whose line ends are repaired: printers and the like. Networks and addresses, with commas between them.")
	SMTPVerifyForUsers = boolSetting("smtp.vrfy_for_users", false,
		"Whether VRFY tells users who logged in if an address is good. Strangers never learn it.")
	SMTPGreetDelay = durationSetting("smtp.greet_delay", 0, 0, 30*time.Second,
		"How long strangers wait for the greeting of port 25; who speaks before it is no mail server and is turned away. 0 switches it off. 3s keeps many senders of spam out.")
	SMTPRatePerAccount = intSetting("smtp.rate_per_account", 0, 0, 1_000_000,
		"Recipients that one account may send messages to within an hour, at all nodes together. 0 is no limit.")
	SMTPRatePerAddress = intSetting("smtp.rate_per_address", 0, 0, 1_000_000,
		"Messages that a stranger may send from one address (IPv6: one /64) within a minute, at all nodes together. 0 is no limit.")

	MailboxUndeleteWindow = durationSetting("mailbox.undelete_window", 7*day, 0, 365*day,
		"How long a deleted message is kept before its bytes are removed for good.")
	MailboxMaxPerAccount = intSetting(store.SettingMaxMailboxes, store.DefaultMaxMailboxes, 10, 1_000_000,
		"Most mailboxes that one account may have.")

	AccountQuotaBytes = sizeSetting(store.SettingQuotaBytes, 0, 0, 1<<50,
		"Bytes that an account may hold when it has no quota of its own. 0 is no limit.")
	AccountQuotaMessages = intSetting(store.SettingQuotaMessages, 0, 0, 1_000_000_000,
		"Messages that an account may hold when it has no quota of its own. 0 is no limit.")

	AuthArgon2Memory = sizeSetting("auth.argon2_memory", 19<<20, 8<<20, 256<<20,
		"Memory that one password hash takes, for passwords that are set from now on.")
	AuthArgon2Passes = intSetting("auth.argon2_passes", 2, 1, 16,
		"Passes over that memory, for passwords that are set from now on.")
	AuthSCRAMIterations = intSetting("auth.scram_iterations", 100_000, 4096, 1_000_000,
		"Rounds behind a SCRAM-SHA-256 key, for passwords that are set from now on. The user's own device has to compute them at each login by SCRAM.")
	AuthMinPasswordLength = intSetting("auth.min_password_length", 10, 1, 128,
		"Fewest characters of a password that an administrator or user may choose.")
	AuthRememberLogins = durationSetting("auth.remember_logins", 5*time.Minute, 0, time.Hour,
		"How long a node remembers that a password was right, so that clients which log in often cost little. 0 switches it off.")
	AuthFreeFailures = intSetting("auth.free_failures", 10, 1, 1000,
		"Failed logins to one account from one address (IPv6: one /64) before further ones are delayed.")
	AuthMaxDelay = durationSetting("auth.max_delay", 15*time.Minute, time.Second, 24*time.Hour,
		"Longest that such an address has to wait before its next try for that account.")

	QueueMaxAge = durationSetting("queue.max_age", 5*day, time.Hour, 30*day,
		"How long delivery is tried before a message is returned to its sender.")
	QueuePerDestination = intSetting("queue.connections_per_destination", 20, 1, 200,
		"Messages that each node sends to one domain, or through one smarthost, at once. Fewer for a provider that complains.")
	QueueWarnAfter = durationSetting("queue.warn_after", 4*time.Hour, 0, 30*day,
		"How long a message waits before its sender is told that it is delayed. 0 switches it off.")

	DeliveryQuotaGrace = durationSetting("delivery.quota_grace", 0, 0, 30*day,
		"How long mail for a full mailbox waits for room before it goes back to its sender. 0: it is refused at once, and the sending server keeps it.")
	DeliveryMTASTS = boolSetting("delivery.mta_sts", true,
		"Whether mail goes only to servers that the domain's own policy names, and only with their certificates, where there is one (RFC 8461).")
	DeliveryDANE = boolSetting("delivery.dane", true,
		"Whether servers must show what the DNS says of their certificates (RFC 7672). It needs dns.validating in the nodes' configuration.")

	TraceKeepDays = intSetting(store.SettingTraceDays, store.DefaultTraceDays, 1, 3650,
		"Days for which it can be asked what became of a message (\"quorumail trace\").")

	DeliveryPlusSeparator = textSetting(store.SettingPlusSeparator, "+", plusSeparator,
		"What splits user+detail@domain. \"\" switches it off.")
)

// Settings lists all settings, sorted by name.
func Settings() []Setting {
	all := []Setting{
		SMTPMaxRecipients.Setting, SMTPMaxMessageBytes.Setting, SMTPTrustedNetworks.Setting, SMTPVerifyForUsers.Setting, SMTPGreetDelay.Setting,
		SMTPRatePerAccount.Setting, SMTPRatePerAddress.Setting, SMTPMaxConnections.Setting, SMTPMaxConnectionsPerAddress.Setting,
		SMTPMaxCommands.Setting, SMTPMaxErrors.Setting, SMTPMaxUnrecognised.Setting, SMTPMaxFailedLogins.Setting,
		MailboxUndeleteWindow.Setting, MailboxMaxPerAccount.Setting,
		AccountQuotaBytes.Setting, AccountQuotaMessages.Setting,
		AuthArgon2Memory.Setting, AuthArgon2Passes.Setting, AuthSCRAMIterations.Setting, AuthMinPasswordLength.Setting,
		AuthRememberLogins.Setting, AuthFreeFailures.Setting, AuthMaxDelay.Setting,
		DeliveryQuotaGrace.Setting, DeliveryMTASTS.Setting, DeliveryDANE.Setting, QueueMaxAge.Setting, QueuePerDestination.Setting, QueueWarnAfter.Setting, TraceKeepDays.Setting, DeliveryPlusSeparator.Setting,
	}
	slices.SortFunc(all, func(a, b Setting) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// FindSetting finds a setting by its name. The error proposes the one that may have been meant.
func FindSetting(name string) (Setting, error) {
	var names []string
	for _, s := range Settings() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Setting{}, fmt.Errorf("there is no setting %q%s", name, didYouMean(name, names))
}

// plusSeparator: RFC 5233 leaves the separator open. Letters and digits would cut real names, @ and dots addresses.
func plusSeparator(s string) error {
	if s == "" || s == "+" || s == "-" || s == "=" || s == "--" {
		return nil
	}
	return fmt.Errorf("%q cannot separate: choose +, -, =, -- or nothing", s)
}

package admin

import "time"

// Rule is one of the site's own rules for mail.
type Rule struct {
	ID        string    `json:"id"`
	Position  uint32    `json:"position"` // rules with lower ones come first
	Action    string    `json:"action"`
	Field     string    `json:"field"`
	Header    string    `json:"header,omitempty"`
	Pattern   string    `json:"pattern"`
	Direction string    `json:"direction"`
	Reply     string    `json:"reply,omitempty"`
	Note      string    `json:"note,omitempty"`
	Disabled  bool      `json:"disabled,omitempty"`
	Changed   time.Time `json:"changed"`
	ChangedBy string    `json:"changed_by"`
}

// RuleRequest names a rule and, for add and set, what it shall be (methods "policy.add", "policy.set", "policy.remove"). Nil leaves a field as it is.
type RuleRequest struct {
	ID        string  `json:"id,omitempty"` // add: "" for one of the node's choice
	Position  *uint32 `json:"position,omitempty"`
	Action    *string `json:"action,omitempty"`
	Field     *string `json:"field,omitempty"`
	Header    *string `json:"header,omitempty"`
	Pattern   *string `json:"pattern,omitempty"`
	Direction *string `json:"direction,omitempty"`
	Reply     *string `json:"reply,omitempty"`
	Note      *string `json:"note,omitempty"`
	Disabled  *bool   `json:"disabled,omitempty"`
	Who       string  `json:"who"`
}

// AuditRequest asks for changes, the newest first: those of rules and routes (method "policy.log"), or of DKIM keys ("dkim.log").
type AuditRequest struct {
	Limit int `json:"limit"`
}

// AuditEvent is a change that an administrator made.
type AuditEvent struct {
	Time time.Time `json:"time"`
	Node string    `json:"node"`
	Who  string    `json:"who"`
	Text string    `json:"text"`
}

// Route is where mail for a domain goes, as it is listed: whether there is a password, and never which.
type Route struct {
	Domain   string    `json:"domain"` // "example.org", "*.example.org" or "*"
	Kind     string    `json:"kind"`   // mx, smarthost, discard, reject
	Hosts    string    `json:"hosts,omitempty"`
	TLS      string    `json:"tls,omitempty"`
	User     string    `json:"user,omitempty"`
	Password bool      `json:"password,omitempty"`
	Text     string    `json:"text,omitempty"`
	Changed  time.Time `json:"changed"`
}

// RouteRequest makes a route, in place of one that the domain has, or removes it (methods "route.set", "route.remove").
type RouteRequest struct {
	Domain   string `json:"domain"`
	Kind     string `json:"kind,omitempty"`
	Hosts    string `json:"hosts,omitempty"`
	TLS      string `json:"tls,omitempty"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Text     string `json:"text,omitempty"`
	Who      string `json:"who"`
}

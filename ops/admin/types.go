package admin

import "time"

// Empty is a request or an answer without content.
type Empty struct{}

// Status is what a node says of itself and of the cluster (method "status").
type Status struct {
	Name      string            `json:"name"`
	ID        string            `json:"id"`
	State     string            `json:"state"`  // Raft's: leader, follower, candidate
	Leader    string            `json:"leader"` // name, or "" when none is known
	Term      uint64            `json:"term"`
	Last      uint64            `json:"last"`    // index of the last entry in the log
	Commit    uint64            `json:"commit"`  // index of the last entry known to be committed
	Applied   uint64            `json:"applied"` // index of the last entry applied
	Ready     bool              `json:"ready"`
	NotReady  string            `json:"not_ready,omitempty"` // why not
	Missing   int               `json:"missing_bodies"`
	Warnings  []string          `json:"warnings,omitempty"` // of this node and of the leader: someone must act
	Queues    QueueCounts       `json:"queues"`             // of the whole cluster, as this node knows
	Members   []Member          `json:"members"`
	Listeners map[string]string `json:"listeners"`
	Version   string            `json:"version"`
}

// Member is a node of the cluster as the asked node sees it.
type Member struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
	Waiting string `json:"waiting,omitempty"` // why it does not vote, or is not removed, yet

	// What gossip tells of it: that warns, and decides nothing.

	Alive    bool    `json:"alive"`
	State    string  `json:"state"` // alive, suspect, dead, left, unknown
	Version  string  `json:"version"`
	Load     float64 `json:"load"`                // for each processor of its machine
	Lag      uint64  `json:"lag"`                 // entries that the asked node knows to be committed and this one had not applied lately
	Ready    bool    `json:"ready"`               // it can take mail
	NotReady string  `json:"not_ready,omitempty"` // why not
	Clients  string  `json:"clients"`             // where mail clients reach it
}

// InviteRequest asks for an invite token (method "invite").
type InviteRequest struct {
	ValidMinutes int `json:"valid_minutes"`
}

// InviteResponse holds the token, to be handed to the new node once.
type InviteResponse struct {
	Token string `json:"token"`
}

// StateHash is the digest of the replicated state at an applied index (method "state-hash"). Nodes at the same index must agree.
type StateHash struct {
	Index uint64 `json:"index"`
	Hash  string `json:"hash"`
}

// StateHashesRequest asks for the comparison of all members' states (method "state-hash.all").
type StateHashesRequest struct {
	WaitMs int64 `json:"wait_ms"` // how long to ask until all answer for one index; at most an hour
}

// What came out of a comparison of states.
const (
	HashesAgree   = "agree"   // all members answered for one index, with one hash
	HashesDiffer  = "differ"  // two members answered for one index, with different hashes
	HashesUnknown = "unknown" // neither, within the time
)

// StateHashes is the comparison of all members' states.
type StateHashes struct {
	Verdict string     `json:"verdict"`
	Index   uint64     `json:"index"` // at which they agree or differ; 0: unknown
	Nodes   []NodeHash `json:"nodes"`
}

// NodeHash is the answer of one member: for the index that decided if it gave one, else its last.
type NodeHash struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	StateHash
	Error string `json:"error,omitempty"` // why there is no answer
}

// NodeRequest names a member by its server id, or by its name where only one has it.
type NodeRequest struct {
	ID string `json:"id"`
}

// Removal is how far the removal of a member is (method "node.remove"). Ask again until it is done.
type Removal struct {
	ID      string `json:"id"`
	Done    bool   `json:"done"`
	Waiting string `json:"waiting,omitempty"` // why not
}

// DomainRequest names a domain and, for add and set, what it shall be (methods "domain.…").
type DomainRequest struct {
	Name      string  `json:"name"`
	CatchAll  *string `json:"catch_all,omitempty"` // address; "" for none; nil leaves it
	Suspended *bool   `json:"suspended,omitempty"`
}

// AccountRequest names an account and, for add and set, what it shall be (methods "account.…"). Nil leaves a field as it is.
type AccountRequest struct {
	Address       string  `json:"address"`
	Name          string  `json:"name,omitempty"`
	Password      string  `json:"password,omitempty"`
	QuotaBytes    *int64  `json:"quota_bytes,omitempty"` // 0: the cluster's default; -1: no limit
	QuotaMessages *int64  `json:"quota_messages,omitempty"`
	Suspended     *bool   `json:"suspended,omitempty"`
	Label         string  `json:"label,omitempty"` // app passwords: what it is for
	ID            string  `json:"id,omitempty"`    // app passwords: which one
	NewName       *string `json:"new_name,omitempty"`
}

// AliasRequest names an alias or a group and, for add and set, what it shall be (methods "alias.…", "group.…").
type AliasRequest struct {
	Address     string   `json:"address"`
	Targets     []string `json:"targets,omitempty"` // set: all that it has from now on; none leaves them
	Add         []string `json:"add,omitempty"`     // set: to those that it has
	Remove      []string `json:"remove,omitempty"`  // set: from those that it has
	Description *string  `json:"description,omitempty"`
}

// Domain is a domain as it is listed.
type Domain struct {
	Name      string `json:"name"`
	CatchAll  string `json:"catch_all"`
	Suspended bool   `json:"suspended"`
	Accounts  int    `json:"accounts"`
}

// Account is an account as it is listed.
type Account struct {
	ID            uint64        `json:"id"`
	Address       string        `json:"address"`
	Name          string        `json:"name"`
	QuotaBytes    int64         `json:"quota_bytes"` // its own: 0 for the cluster's default, -1 for no limit
	QuotaMessages int64         `json:"quota_messages"`
	LimitBytes    int64         `json:"limit_bytes"` // what counts, 0 for no limit
	LimitMessages int64         `json:"limit_messages"`
	UsedBytes     int64         `json:"used_bytes"`
	Messages      int64         `json:"messages"`
	Suspended     bool          `json:"suspended"`
	AppPasswords  []AppPassword `json:"app_passwords,omitempty"`
}

// AppPassword is a password for one program. Password is there only in the answer to its making.
type AppPassword struct {
	ID       string    `json:"id"`
	Label    string    `json:"label"`
	Created  time.Time `json:"created"`
	Password string    `json:"password,omitempty"`
}

// Alias is an alias or a group as it is listed.
type Alias struct {
	Address     string   `json:"address"`
	Targets     []string `json:"targets"`
	Elsewhere   []string `json:"elsewhere,omitempty"` // those of the targets that are of other systems
	Group       bool     `json:"group"`
	Description string   `json:"description"`
}

// SettingRequest names a setting of the cluster and, for "set", its new value (methods "set", "settings"; there no name means all).
type SettingRequest struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Reset bool   `json:"reset"` // back to the default
}

// Setting is a setting as it is listed.
type Setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Set     bool   `json:"set"`   // somebody chose the value
	Type    string `json:"type"`  // size, number, duration, text
	Range   string `json:"range"` // for people, such as "64KiB to 1GiB"; "" when the doc says it
	Doc     string `json:"doc"`
}

// LogLevel is how much a node logs (method "log-level"; a request with "" only asks).
type LogLevel struct {
	Level string `json:"level"` // debug, info, warn, error
}

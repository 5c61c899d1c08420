package admin

import "time"

// DKIMRequest names a domain and, where it matters, one pair of its keys (methods "dkim.show", where no domain means all; "dkim.create",
// "dkim.rotate", "dkim.activate", "dkim.remove").
type DKIMRequest struct {
	Domain string `json:"domain"`
	Keys   string `json:"keys,omitempty"` // remove: only this pair
	Wait   bool   `json:"wait,omitempty"` // create, rotate: sign with the new keys only once they are activated
	Who    string `json:"who"`
}

// What a pair of keys is for.
const (
	DKIMSigns   = "signs"   // mail is signed with it
	DKIMWaits   = "waits"   // until it is activated
	DKIMRetired = "retired" // others may still have to verify what it signed
)

// DKIMKeys is a pair of keys of a domain: one that all verifiers know, and one that is short.
type DKIMKeys struct {
	Domain  string       `json:"domain"`
	Keys    string       `json:"keys"` // the pair's name, with which its selectors begin
	State   string       `json:"state"`
	Made    time.Time    `json:"made"`
	Until   time.Time    `json:"until,omitzero"`    // retired: its records must stay in the DNS so long
	Trouble string       `json:"trouble,omitempty"` // why it cannot sign
	Records []DKIMRecord `json:"records"`
}

// DKIMRecord is what must stand in the DNS.
type DKIMRecord struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Zone  string `json:"zone"` // the same as a zone file has it
}

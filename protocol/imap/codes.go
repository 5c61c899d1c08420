package imap

import (
	"strconv"
	"strings"
)

// Code is a response code without its brackets (RFC 9051 §7.1). "" is none.
type Code string

// Response codes without arguments (RFC 9051 §7.1 and the RFCs named).
const (
	CodeAlert                Code = "ALERT"
	CodeAlreadyExists        Code = "ALREADYEXISTS"
	CodeAuthenticationFailed Code = "AUTHENTICATIONFAILED"
	CodeAuthorizationFailed  Code = "AUTHORIZATIONFAILED"
	CodeCannot               Code = "CANNOT"
	CodeClientBug            Code = "CLIENTBUG"
	CodeClosed               Code = "CLOSED"
	CodeContactAdmin         Code = "CONTACTADMIN"
	CodeCorruption           Code = "CORRUPTION"
	CodeExpired              Code = "EXPIRED"
	CodeExpungeIssued        Code = "EXPUNGEISSUED"
	CodeHasChildren          Code = "HASCHILDREN"
	CodeInUse                Code = "INUSE"
	CodeLimit                Code = "LIMIT"
	CodeNoModSeq             Code = "NOMODSEQ" // RFC 7162 §3.1.2.2
	CodeNonExistent          Code = "NONEXISTENT"
	CodeNoPerm               Code = "NOPERM"
	CodeNotSaved             Code = "NOTSAVED"
	CodeOverQuota            Code = "OVERQUOTA"
	CodeParse                Code = "PARSE"
	CodePrivacyRequired      Code = "PRIVACYREQUIRED"
	CodeReadOnly             Code = "READ-ONLY"
	CodeReadWrite            Code = "READ-WRITE"
	CodeServerBug            Code = "SERVERBUG"
	CodeTooBig               Code = "TOOBIG" // RFC 7889
	CodeTryCreate            Code = "TRYCREATE"
	CodeUIDNotSticky         Code = "UIDNOTSTICKY"
	CodeUnavailable          Code = "UNAVAILABLE"
	CodeUnknownCTE           Code = "UNKNOWN-CTE"
	CodeUseAttr              Code = "USEATTR" // RFC 6154
)

func numberCode(name string, n uint64) Code {
	return Code(name + " " + strconv.FormatUint(n, 10))
}

// CodeUIDValidity is [UIDVALIDITY n].
func CodeUIDValidity(n uint32) Code { return numberCode("UIDVALIDITY", uint64(n)) }

// CodeUIDNext is [UIDNEXT n].
func CodeUIDNext(n uint32) Code { return numberCode("UIDNEXT", uint64(n)) }

// CodeUnseen is [UNSEEN n], the first unseen message's sequence number (RFC 3501 §7.1).
func CodeUnseen(n uint32) Code { return numberCode("UNSEEN", uint64(n)) }

// CodeHighestModSeq is [HIGHESTMODSEQ n] (RFC 7162 §3.1.2.1).
func CodeHighestModSeq(n uint64) Code { return numberCode("HIGHESTMODSEQ", n) }

// CodeAppendUID is [APPENDUID validity uids] (RFC 9051 §7.1, RFC 4315).
func CodeAppendUID(validity uint32, uids NumSet) Code {
	return numberCode("APPENDUID", uint64(validity)) + Code(" "+uids.String())
}

// CodeCopyUID is [COPYUID validity from to]; the sets name the messages pairwise in order (RFC 4315 §3).
func CodeCopyUID(validity uint32, from, to NumSet) Code {
	return numberCode("COPYUID", uint64(validity)) + Code(" "+from.String()+" "+to.String())
}

// CodeModified is [MODIFIED set]: messages that UNCHANGEDSINCE kept STORE from (RFC 7162 §3.1.3).
func CodeModified(set NumSet) Code { return Code("MODIFIED " + set.String()) }

// CodePermanentFlags is [PERMANENTFLAGS (...)].
func CodePermanentFlags(flags []Flag) Code {
	return Code("PERMANENTFLAGS (" + joinFlags(flags) + ")")
}

// CodeCapability is [CAPABILITY ...].
func CodeCapability(caps []string) Code { return Code("CAPABILITY " + strings.Join(caps, " ")) }

// CodeBadCharset is [BADCHARSET (...)] with the charsets that the server knows.
func CodeBadCharset(charsets ...string) Code {
	return Code("BADCHARSET (" + strings.Join(charsets, " ") + ")")
}

// CodeMailboxID is [MAILBOXID (id)] (RFC 8474 §4.1).
func CodeMailboxID(id string) Code { return Code("MAILBOXID (" + id + ")") }

func joinFlags(flags []Flag) string {
	s := make([]string, len(flags))
	for i, f := range flags {
		s[i] = string(f)
	}
	return strings.Join(s, " ")
}

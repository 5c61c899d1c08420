package mime

import "strings"

// MaxReferences bounds the message ids kept of one References or In-Reply-To field: the first and the last ones.
const MaxReferences = 100

// ThreadKeys ties a message to its conversation (RFC 5256 §3, RFC 5322 §3.6.4). Ids stand without angle brackets.
type ThreadKeys struct {
	MessageID  string
	InReplyTo  []string
	References []string // oldest first
}

// ParseMessageIDs reads the ids of a Message-ID, In-Reply-To or References field. Without angle brackets, a lone word with "@" counts.
func ParseMessageIDs(value string) []string {
	var ids []string
	for rest := value; ; {
		_, after, ok := strings.Cut(rest, "<")
		if !ok {
			break
		}
		id, next, ok := strings.Cut(after, ">")
		if !ok {
			break
		}
		if id = strings.Join(strings.Fields(id), ""); id != "" {
			ids = append(ids, id)
		}
		rest = next
	}
	if word := strings.TrimSpace(value); len(ids) == 0 && strings.Contains(word, "@") && !strings.ContainsAny(word, " \t\r\n<>") {
		ids = []string{word}
	}
	if len(ids) > MaxReferences { // the root of the thread and the nearest ancestors tell most
		ids = append(ids[:1:1], ids[len(ids)-MaxReferences+1:]...)
	}
	return ids
}

package mime

// Summary is what the accepting node computes once of a message and what all nodes keep: enough to
// answer ENVELOPE, BODYSTRUCTURE, the usual header fields, preview, thread and sort keys without the body.
type Summary struct {
	// Structure is nil when it was too large to keep (StructureOmitted): parse the body on demand.
	Structure        *Structure
	StructureOmitted bool

	// RawBytes, HeaderBytes and Lines describe the whole message; HeaderBytes includes the blank line.
	RawBytes, HeaderBytes, Lines int64

	// Fields holds the raw bytes of the cached header fields (CachedFields), in message order,
	// each with its line end. Fields that were too large are named in OmittedFields (lower case).
	Fields        []byte
	OmittedFields []string

	// Preview is the first text of the message: at most PreviewRunes characters of UTF-8 (RFC 8970).
	Preview string
}

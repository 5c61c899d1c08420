package mime

// Limits of what is parsed of a message. A message beyond them is kept whole and described in part (Structure.Truncated).
const (
	// MaxParts bounds the parts of a message, nested messages' included.
	MaxParts = 1000
	// MaxDepth bounds how deep multiparts and messages nest.
	MaxDepth = 50
	// MaxHeaderBytes bounds what is looked at of one header.
	MaxHeaderBytes = 64 << 10
	// MaxMetadataBytes bounds the strings (types, parameters, envelopes of nested messages) kept of all parts together.
	MaxMetadataBytes = 64 << 10
	// MaxParams bounds the parameters of one Content-Type or Content-Disposition.
	MaxParams = 64
	// MaxAddresses bounds the addresses of one envelope field.
	MaxAddresses = 1000
	// MaxBoundaryBytes bounds a boundary (RFC 2046 §5.1.1 allows 70); a longer one divides nothing.
	MaxBoundaryBytes = 256
	// MaxSummaryBytes bounds a marshalled Summary.
	MaxSummaryBytes = 32 << 10
	// PreviewRunes is the length of a preview (RFC 8970 §3.1 allows 256).
	PreviewRunes = 200
)

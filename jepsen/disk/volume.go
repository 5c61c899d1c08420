package disk

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Kind is a kind of volume.
type Kind string

// The kinds.
const (
	Plain   Kind = "plain"
	FaultFS Kind = "faultfs"
	Ext4    Kind = "ext4"
	XFS     Kind = "xfs"
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Plain, FaultFS, Ext4, XFS} }

var (
	// ErrNotHere: this kind of volume cannot do that; the text says which can.
	ErrNotHere = errors.New("this kind of volume cannot do that")
	// ErrUnsupported: this machine lacks what the kind of volume needs, or the process may not use it.
	ErrUnsupported = errors.New("this kind of volume does not work here")
)

// Volume holds one node's data folder. Its methods may be called from several goroutines.
type Volume interface {
	Kind() Kind
	Path() string   // the data folder, while mounted; it never changes
	Mount() error   // does nothing when it is mounted
	Unmount() error // cleanly: all is kept. The programs that used it have ended, or end within seconds

	// Cut is the moment in which the power goes: nothing that was not synced survives, and nothing done afterwards. The programs that use the
	// volume are stopped (SIGSTOP), this one excepted, which gets EIO; the caller kills them. See CutAll. Not with Plain.
	Cut() error
	// Restore mounts what was on the disk when Cut was called, or now. The programs that used the volume have ended. Not with Plain.
	Restore() (Loss, error)

	// Content gives the files at rest: the program is down. What look changes is kept, whatever happens to the power afterwards. A mounted
	// volume is mounted again afterwards.
	Content(look func(dir string) error) error

	Inject(f Fault) (undo func(), err error)             // lets operations fail, wait or lie; only with FaultFS
	Fill(freeBytes int64) (undo func() error, err error) // leaves so much space; not with Plain
	Heal() error                                         // undoes all of Inject and Fill
	Close() error                                        // unmounts and removes everything
}

// Config says what volume to make.
type Config struct {
	Kind Kind
	Dir  string // a folder for this volume alone, made if missing
	// SizeBytes is how big Ext4 and XFS are (the image is sparse); 0 means 2 GiB. XFS needs 300 MiB, and the node its limits.min_free_disk.
	SizeBytes int64
	Seed      uint64 // of what FaultFS keeps at each loss of power, and of its faults' chances
}

// Loss says what a loss of power did.
type Loss struct {
	How        string // "none", "prefix", "random" or "all" of the unsynced changes were kept (FaultFS); "journal" (Ext4, XFS)
	Kept, Lost int    // unsynced changes; only FaultFS counts them
}

// String is for people.
func (l Loss) String() string {
	if l.How == journalled {
		return "what the journal held is kept"
	}
	return fmt.Sprintf("kept %s of what was not synced: %d changes kept, %d lost", l.How, l.Kept, l.Lost)
}

const journalled = "journal"

// Supported tells why a kind cannot work here, or nil. The error is ErrUnsupported.
func Supported(k Kind) error {
	switch k {
	case Plain:
		return nil
	case FaultFS:
		return faultSupported()
	case Ext4, XFS:
		return blockSupported(k)
	}
	return fmt.Errorf("%w: there is no kind %q; there are %v", ErrUnsupported, k, Kinds())
}

// New makes a volume, or takes up again the one that is in the folder; it is not mounted yet.
func New(cfg Config) (Volume, error) {
	if err := Supported(cfg.Kind); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a volume's folder: %w", err)
	}
	switch cfg.Kind {
	case FaultFS:
		return newFault(cfg)
	case Ext4, XFS:
		return newBlock(cfg)
	}
	return newPlain(cfg)
}

// retry does something until it succeeds, fails otherwise than with what it may, or too much time is over: what a killed program had open is
// closed a moment after it is gone.
func retry(may error, do func() error) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if err := do(); err == nil || !errors.Is(err, may) || time.Now().After(deadline) {
			return err
		}
	}
}

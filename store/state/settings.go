package state

import (
	"errors"
	"strconv"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// limits are what the cluster's settings allow to every account.
type limits struct {
	quotaBytes    int64 // of an account without a quota of its own; 0: no limit
	quotaMessages int64 // the same
	mailboxes     int
	traceDays     uint64 // that traces are kept
}

// readers read the settings that Apply itself uses. A value that they refuse is refused when it is put, so that no node ever has to
// guess what it means.
var readers = map[string]func(*limits, string) error{
	store.SettingQuotaBytes: func(l *limits, s string) (err error) {
		l.quotaBytes, err = store.ParseSize(s)
		return err
	},
	store.SettingQuotaMessages: func(l *limits, s string) error {
		n, err := strconv.ParseUint(s, 10, 63)
		l.quotaMessages = int64(n)
		return err
	},
	store.SettingMaxMailboxes: func(l *limits, s string) error {
		n, err := strconv.ParseUint(s, 10, 31)
		l.mailboxes = int(n)
		return err
	},
	store.SettingTraceDays: func(l *limits, s string) error {
		n, err := strconv.ParseUint(s, 10, 16)
		l.traceDays = n
		return err
	},
}

func readLimits(r kv.Reader) (*limits, error) {
	l := &limits{mailboxes: store.DefaultMaxMailboxes, traceDays: store.DefaultTraceDays}
	for name, read := range readers { // each has a field of its own: their order does not matter
		raw, err := r.Get(key(tabSetting, name))
		if err == nil {
			err = read(l, string(raw))
		}
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return nil, err
		}
	}
	return l, nil
}

// quota is what an account may hold; 0: no limit.
func (l *limits) quota(a *storepb.Account) (bytes, messages int64) {
	own := func(quota, general int64) int64 {
		switch quota {
		case 0:
			return general
		case store.Unlimited:
			return 0
		}
		return quota
	}
	return own(a.QuotaBytes, l.quotaBytes), own(a.QuotaMessages, l.quotaMessages)
}

// over tells whether a usage is more than an account may hold.
func (l *limits) over(a *storepb.Account, u *storepb.Usage) bool {
	bytes, messages := l.quota(a)
	return bytes > 0 && u.Bytes > bytes || messages > 0 && u.Messages > messages
}

// limits reads the settings once for each batch, and again after one was changed in it.
func (b *batch) limits() (*limits, error) {
	if b.lim == nil {
		l, err := readLimits(b)
		if err != nil {
			return nil, err
		}
		b.lim = l
	}
	return b.lim, nil
}

// Quota is what an account may hold: its own quota, or the cluster's default for accounts without one. 0: no limit.
func (v *View) Quota(a *storepb.Account) (bytes, messages int64, err error) {
	l, err := readLimits(v)
	if err != nil {
		return 0, 0, err
	}
	bytes, messages = l.quota(a)
	return bytes, messages, nil
}

func (b *batch) putSetting(op *storepb.PutSetting) (*storepb.Result, error) {
	if op.Name == "" || len(op.Name) > maxSettingNameBytes || len(op.Value) > maxSettingBytes {
		return refuse(store.ErrInvalid, "no proper setting"), nil
	}
	if read := readers[op.Name]; read != nil && !op.Reset_ && read(&limits{}, op.Value) != nil {
		return refuse(store.ErrInvalid, "%q is no value of %s", op.Value, op.Name), nil
	}
	b.applied.Settings, b.lim = true, nil
	if op.Reset_ {
		return &storepb.Result{}, b.Delete(key(tabSetting, op.Name))
	}
	return &storepb.Result{}, b.Set(key(tabSetting, op.Name), []byte(op.Value))
}

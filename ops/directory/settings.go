package directory

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// SettingInfo is a setting of the cluster as it stands.
type SettingInfo struct {
	config.Setting
	Value string
	Set   bool // somebody chose the value; else it is the default
}

// Settings lists the settings by name.
func (d *Directory) Settings(ctx context.Context) ([]SettingInfo, error) {
	var list []SettingInfo
	err := d.read(ctx, func(v *state.View) error {
		for _, s := range config.Settings() {
			info, err := settingInfo(v, s)
			if err != nil {
				return err
			}
			list = append(list, info)
		}
		return nil
	})
	return list, err
}

// Setting shows one setting. store.ErrNotFound.
func (d *Directory) Setting(ctx context.Context, name string) (SettingInfo, error) {
	s, err := findSetting(name)
	if err != nil {
		return SettingInfo{}, err
	}
	var info SettingInfo
	err = d.read(ctx, func(v *state.View) error {
		info, err = settingInfo(v, s)
		return err
	})
	return info, err
}

func findSetting(name string) (config.Setting, error) {
	s, err := config.FindSetting(name)
	if err != nil {
		return s, fmt.Errorf("%w: %w", err, store.ErrNotFound)
	}
	return s, nil
}

func settingInfo(v *state.View, s config.Setting) (SettingInfo, error) {
	value, err := v.Setting(s.Name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return SettingInfo{Setting: s, Value: s.Default}, nil
	case err != nil:
		return SettingInfo{}, fmt.Errorf("read the setting %s: %w", s.Name, err)
	}
	return SettingInfo{Setting: s, Value: value, Set: true}, nil
}

// SetSetting changes a setting. store.ErrNotFound; store.ErrInvalid when it cannot have that value.
func (d *Directory) SetSetting(ctx context.Context, name, value string) error {
	s, err := findSetting(name)
	if err != nil {
		return err
	}
	if value, err = s.Normalize(value); err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrInvalid)
	}
	return d.putSetting(ctx, &storepb.PutSetting{Name: name, Value: value})
}

// ResetSetting gives a setting its default again. store.ErrNotFound.
func (d *Directory) ResetSetting(ctx context.Context, name string) error {
	if _, err := findSetting(name); err != nil {
		return err
	}
	return d.putSetting(ctx, &storepb.PutSetting{Name: name, Reset_: true})
}

func (d *Directory) putSetting(ctx context.Context, op *storepb.PutSetting) error {
	_, err := d.propose(ctx, "set "+op.Name, func(cmd *storepb.Command) {
		cmd.Op = &storepb.Command_PutSetting{PutSetting: op}
	})
	return err
}

// readSettings is what was read of the settings: each message asks for several, and they hardly ever change.
type readSettings struct {
	changes atomic.Uint64 // counted once a change is in the state
	read    atomic.Pointer[settingsAt]
}

// settingsAt is what the state said when so many changes had been counted, or something newer.
type settingsAt struct {
	changes uint64
	stored  map[string]string
}

// Lookup reads what is stored of a setting in this node's copy, for those who use the setting: config.SMTPMaxRecipients.From(d.Lookup).
func (d *Directory) Lookup(name string) (value string, ok bool) {
	changes := d.settings.changes.Load()
	at := d.settings.read.Load()
	if at == nil || at.changes != changes {
		v := d.cfg.Store.View()
		stored, err := v.Settings()
		v.Close()
		if err != nil {
			return "", false // what cannot be read takes its default
		}
		at = &settingsAt{changes, stored}
		d.settings.read.Store(at)
	}
	value, ok = at.stored[name]
	return value, ok
}

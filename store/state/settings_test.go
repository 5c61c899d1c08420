package state

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func TestQuotaOfTheClusterHoldsForAccountsWithoutTheirOwn(t *testing.T) {
	b := newBench(t, "")
	an, binh, chi := b.account("an@example.test"), b.account("binh@example.test"), b.account("chi@example.test")
	set := func(name, value string) error {
		_, err := b.try(&storepb.Command{Op: &storepb.Command_PutSetting{PutSetting: &storepb.PutSetting{Name: name, Value: value}}})
		return err
	}
	b.do(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Id: binh, QuotaMessages: 2}}}})
	b.do(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Id: chi, QuotaMessages: store.Unlimited}}}})
	if err := set(store.SettingQuotaMessages, "1"); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][3]bool{{true, true, true}, {false, true, true}, {false, false, true}} {
		res := b.do(add(b.body(fmt.Sprint(i)), an, binh, chi))
		for j, p := range res.Placed {
			if placed := p.Code == 0; placed != want[j] || !placed && !errors.Is(CodeError(p.Code), store.ErrOverQuota) {
				t.Errorf("message %d, account %d: code %d", i, j, p.Code)
			}
		}
	}
	// By bytes, and in force for the next command.
	if err := errors.Join(set(store.SettingQuotaMessages, "0"), set(store.SettingQuotaBytes, "1KiB")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.try(add(b.body(strings.Repeat("x", 2000)), an)); !errors.Is(err, store.ErrOverQuota) {
		t.Errorf("a message larger than the quota: %v", err)
	}
	b.do(add(b.body("small"), an))
	for name, value := range map[string]string{store.SettingQuotaBytes: "much", store.SettingQuotaMessages: "-1", store.SettingMaxMailboxes: "1.5"} {
		if err := set(name, value); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s = %q: %v", name, value, err)
		}
	}
}

func TestMailboxesAreLimitedBySetting(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	b.do(&storepb.Command{Op: &storepb.Command_PutSetting{PutSetting: &storepb.PutSetting{Name: store.SettingMaxMailboxes, Value: strconv.Itoa(len(standardMailboxes) + 1)}}})
	create := func(name string) error {
		_, err := b.try(&storepb.Command{Op: &storepb.Command_CreateMailbox{CreateMailbox: &storepb.CreateMailbox{Account: an, Name: name}}})
		return err
	}
	if err := create("one"); err != nil {
		t.Fatal(err)
	}
	if err := create("two"); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("one too many: %v", err)
	}
}

func TestAccountChangedMeanwhileIsNotOverwritten(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	put := func(generation uint64, name string) error {
		_, err := b.try(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Id: an, DisplayName: name, CredentialGeneration: generation}}}})
		return err
	}
	if err := put(1, "An"); err != nil {
		t.Fatal(err)
	}
	if err := put(1, "Binh"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a change of what was read before another change: %v", err)
	}
	if err := put(2, "Chi"); err != nil {
		t.Error(err)
	}
}

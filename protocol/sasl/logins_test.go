package sasl

import (
	"errors"
	"testing"
)

func TestRevokeEndsTheSessionsOfOneAccount(t *testing.T) {
	var l Logins[int, string]
	enter := func(session int, account string) {
		t.Helper()
		if err := l.Check(session, func() (string, error) { return account, nil }); err != nil {
			t.Fatal(err)
		}
	}
	enter(1, "an")
	enter(2, "binh")
	enter(3, "an")
	enter(4, "an")
	l.Forget(3)
	l.Forget(5) // never logged in
	ended := map[int]bool{}
	l.Revoke("an", func(s int) { ended[s] = true })
	if len(ended) != 2 || !ended[1] || !ended[4] {
		t.Errorf("ended %v, want 1 and 4", ended)
	}
	clear(ended)
	l.Revoke("", func(s int) { ended[s] = true }) // everybody's
	if len(ended) != 3 {
		t.Errorf("ended %v, want 1, 2 and 4", ended)
	}
}

func TestLoginThatIsRevokedMeanwhileIsCheckedAgain(t *testing.T) {
	var l Logins[int, string]
	wrong, checks := errors.New("wrong password"), 0
	err := l.Check(1, func() (string, error) {
		if checks++; checks > 1 {
			return "", wrong
		}
		l.Revoke("an", func(int) { t.Error("a session that is not there was ended") })
		return "an", nil
	})
	if !errors.Is(err, wrong) || checks != 2 {
		t.Errorf("%v after %d checks", err, checks)
	}
}

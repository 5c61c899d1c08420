package queue

import (
	"strings"
	"testing"

	"github.com/quorumail/quorumail/queue/remote"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Who was named himself gets no Delivered-To: his server would take the message for one that goes round. An entry whose message rested in the
// queue "in" names itself as what it came by.
func TestDeliveredToNamesAliasesAlone(t *testing.T) {
	entries := []*storepb.QueueEntry{
		{Address: "x@far.test", Original: "x@far.test"}, {Address: "y@far.test"}, {Address: "z@far.test", Original: "z@far.test"}, {Address: "v@far.test", Original: "info@here.test"},
	}
	m := &Message{QueueMessage: &storepb.QueueMessage{QueueId: "q1"}}
	for i, want := range []string{"", "", "", "Delivered-To: info@here.test\r\n"} {
		msg, err := (&Mail{}).compose(m, passedBy(entries[i]))
		if err != nil || string(msg.Prefix) != want {
			t.Errorf("on top stands %q (%v), want %q", msg.Prefix, err, want)
		}
	}
}

// RFC 3461 §5.2.3.1, and RFC 6533 §3 for what rfc822 cannot have.
func TestOriginalRecipientOfAnAlias(t *testing.T) {
	for want, e := range map[string]*storepb.QueueEntry{
		"rfc822;info@here.test":                {Address: "x@far.test", Original: "info@here.test"},
		"utf-8;tôi@here.test":                  {Address: "x@far.test", Original: "tôi@here.test"},
		"rfc822;an@xn--bcher-kva.test":         {Address: "x@far.test", Original: "an@bücher.test"},
		"":                                     {Address: "x@far.test", Original: "x@far.test"},
		"rfc822;a+2Bb@there.test":              {Address: "x@far.test", Original: "info@here.test", Orcpt: "rfc822;a+b@there.test"},
		"utf-8;tôi@there.test":                 {Address: "x@far.test", Orcpt: "utf-8;tôi@there.test"},
		"x400;/C=VN/" + strings.Repeat("O", 9): {Address: "x@far.test", Orcpt: "x400;/C=VN/" + strings.Repeat("O", 9)},
	} {
		if want = strings.ReplaceAll(want, "C=VN", "C+3DVN"); orcpt(e) != want {
			t.Errorf("%v: %q, want %q", e, orcpt(e), want)
		}
	}
}

// A code is a peer's: what we found ourselves is not told as its answer, in traces or in notices.
func TestOurOwnWordsHaveNoCode(t *testing.T) {
	o := outcomeOf(remote.Result{Status: remote.Failed, Code: 553, Local: true, Enhanced: "5.6.7", Text: "it does not offer SMTPUTF8", Host: "mx.far.test"})
	if o.Code != 0 || o.Status != "5.6.7" || o.Peer != "mx.far.test" {
		t.Errorf("%+v", o)
	}
	if o := outcomeOf(remote.Result{Status: remote.Failed, Code: 550, Enhanced: "5.1.1", Host: "mx.far.test"}); o.Code != 550 {
		t.Errorf("%+v", o)
	}
	late := moment{tickMs: uint64(Policy{}.filled().MaxAge.Milliseconds())}
	out := decide(Policy{}.filled(), late, "an@here.test", &storepb.QueueEntry{}, Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.7.1", Reason: "later", Peer: "mx.far.test"})
	if out.Code != 0 || out.Status != "5.4.7" || !strings.HasSuffix(out.Reason, "the last attempt: 451 4.7.1 later") {
		t.Errorf("given up: %v", out)
	}
}

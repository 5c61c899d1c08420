package imapd

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// go-imap's client reads strictly: what it takes is well-formed.
func TestGoIMAPClient(t *testing.T) {
	ts := startServer(t, nil)
	exists := make(chan uint32, 16)
	dial := func() *imapclient.Client {
		c, err := imapclient.DialInsecure(ts.addr, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
			Mailbox: func(d *imapclient.UnilateralDataMailbox) {
				if d.NumMessages != nil {
					exists <- *d.NumMessages
				}
			}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		must(t, c.Login("an@example.test", "secret").Wait())
		return c
	}
	c := dial()
	_, err := c.ID(&imap.IDData{Name: "test"}).Wait()
	must(t, err)
	must(t, c.Create("Archive/2026", nil).Wait())
	boxes, err := c.List("", "*", &imap.ListOptions{ReturnStatus: &imap.StatusOptions{NumMessages: true}, ReturnSpecialUse: true}).Collect()
	must(t, err)
	if len(boxes) != 6 || !slices.Contains(boxes[3].Attrs, imap.MailboxAttrDrafts) || boxes[0].Status == nil {
		t.Errorf("LIST gave %+v", boxes)
	}
	sel, err := c.Select("INBOX", nil).Wait()
	must(t, err)
	if sel.NumMessages != 0 || sel.UIDNext != 1 || sel.UIDValidity == 0 {
		t.Errorf("SELECT gave %+v", sel)
	}
	date := time.Date(2026, 2, 3, 4, 5, 6, 0, time.FixedZone("", 7*3600))
	app := c.Append("INBOX", int64(len(multipart)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagFlagged, "$Label"}, Time: date})
	_, err = app.Write([]byte(multipart))
	must(t, err)
	must(t, app.Close())
	put, err := app.Wait()
	must(t, err)
	if put.UID != 1 {
		t.Errorf("APPEND gave UID %d", put.UID)
	}
	if n := <-exists; n != 1 {
		t.Errorf("EXISTS %d", n)
	}
	msgs, err := c.Fetch(imap.UIDSetNum(1), &imap.FetchOptions{Envelope: true, Flags: true, InternalDate: true, RFC822Size: true, UID: true,
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, BodySection: []*imap.FetchItemBodySection{{}, {Part: []int{1}, Peek: true}}}).Collect()
	must(t, err)
	m := msgs[0]
	if string(m.BodySection[0].Bytes) != multipart || string(m.BodySection[1].Bytes) != "hello" || m.Envelope.Subject != "parts" ||
		!m.InternalDate.Equal(date) || m.RFC822Size != int64(len(multipart)) || len(m.BodyStructure.(*imap.BodyStructureMultiPart).Children) != 2 {
		t.Errorf("FETCH gave %+v", m)
	}
	if fmt.Sprint(m.Flags) != `[\Flagged \Seen $Label \Recent]` {
		t.Errorf("flags are %v", m.Flags)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Body: []string{"HELLO"}, Flag: []imap.Flag{imap.FlagSeen}}, &imap.SearchOptions{ReturnAll: true, ReturnCount: true}).Wait()
	must(t, err)
	if found.Count != 1 || fmt.Sprint(found.AllUIDs()) != "[1]" {
		t.Errorf("SEARCH gave %+v", found)
	}
	copied, err := c.Copy(imap.UIDSetNum(1), "Archive/2026").Wait()
	must(t, err)
	if copied.DestUIDs.String() != "1" {
		t.Errorf("COPY gave %+v", copied)
	}
	idle, err := c.Idle()
	must(t, err)
	other := dial()
	app = other.Append("INBOX", 4, nil)
	_, err = app.Write([]byte("abcd"))
	must(t, err)
	must(t, app.Close())
	_, err = app.Wait()
	must(t, err)
	if n := <-exists; n != 2 {
		t.Errorf("EXISTS %d in IDLE", n)
	}
	must(t, idle.Close())
	must(t, idle.Wait())
	moved, err := c.Move(imap.SeqSetNum(2), "Trash").Wait()
	must(t, err)
	if moved.DestUIDs.String() != "1" {
		t.Errorf("MOVE gave %+v", moved)
	}
	_, err = c.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Collect()
	must(t, err)
	gone, err := c.UIDExpunge(imap.UIDSetNum(1)).Collect()
	must(t, err)
	if fmt.Sprint(gone) != "[1]" {
		t.Errorf("EXPUNGE gave %v", gone)
	}
	must(t, c.Unselect().Wait())
	condStore(t, c)
	must(t, c.Logout().Wait())
}

// condStore reads and tests mod-sequences (RFC 7162) in a mailbox of one message.
func condStore(t *testing.T, c *imapclient.Client) {
	t.Helper()
	sel, err := c.Select("Trash", &imap.SelectOptions{CondStore: true}).Wait()
	must(t, err)
	if sel.HighestModSeq == 0 {
		t.Errorf("SELECT gave %+v", sel)
	}
	all := imap.UIDSetNum(1)
	set := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagAnswered}, Silent: true}
	msgs, err := c.Store(all, set, &imap.StoreOptions{UnchangedSince: sel.HighestModSeq}).Collect()
	must(t, err)
	if len(msgs) != 1 || msgs[0].ModSeq <= sel.HighestModSeq {
		t.Errorf("STORE with UNCHANGEDSINCE gave %+v", msgs)
	}
	set.Flags[0] = imap.FlagDraft
	_, err = c.Store(all, set, &imap.StoreOptions{UnchangedSince: sel.HighestModSeq}).Collect()
	must(t, err)
	now, err := c.Fetch(all, &imap.FetchOptions{Flags: true, ChangedSince: sel.HighestModSeq}).Collect()
	must(t, err)
	if len(now) != 1 || now[0].ModSeq != msgs[0].ModSeq || slices.Contains(now[0].Flags, imap.FlagDraft) {
		t.Errorf("FETCH with CHANGEDSINCE gave %+v", now)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{ModSeq: &imap.SearchCriteriaModSeq{ModSeq: msgs[0].ModSeq}}, nil).Wait()
	must(t, err)
	if fmt.Sprint(found.AllUIDs()) != "[1]" || found.ModSeq != msgs[0].ModSeq {
		t.Errorf("SEARCH MODSEQ gave %+v", found)
	}
	st, err := c.Status("Trash", &imap.StatusOptions{HighestModSeq: true}).Wait()
	must(t, err)
	if st.HighestModSeq != msgs[0].ModSeq {
		t.Errorf("STATUS gave %+v", st)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPythonIMAPLib(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3")
	}
	ts := startServer(t, nil)
	host, port, _ := strings.Cut(ts.addr, ":")
	script := fmt.Sprintf(`
import imaplib
c = imaplib.IMAP4(%q, %s)
c.login("an@example.test", "secret")
assert c.create("Archive")[0] == "OK"
raw = b"Subject: by python\r\n\r\nxin chao\r\n"
for i in range(3): assert c.append("INBOX", "(\\Draft)", None, raw)[0] == "OK"
assert c.select("INBOX") == ("OK", [b"3"])
assert c.search(None, "SUBJECT", '"by python"')[1] == [b"1 2 3"]
assert c.fetch("1", "(RFC822)")[1][0][1] == raw
assert c.fetch("1", "(FLAGS)")[1] == [b"1 (FLAGS (\\Seen \\Draft \\Recent))"], c.fetch("1", "(FLAGS)")
assert c.uid("fetch", "2", "(BODY.PEEK[HEADER])")[1][0][1] == b"Subject: by python\r\n\r\n"
assert c.store("1", "+FLAGS", "(\\Flagged)")[0] == "OK"
assert c.copy("1", "Archive")[0] == "OK"
assert c.store("1:2", "+FLAGS", "(\\Deleted)")[0] == "OK"
assert c.expunge() == ("OK", [b"2", b"1"])
assert c.status("Archive", "(MESSAGES UNSEEN)")[1] == [b"Archive (MESSAGES 1 UNSEEN 0)"]
assert c.select("Archive")[1] == [b"1"]
assert c.search(None, "FLAGGED")[1] == [b"1"]
assert c.response("HIGHESTMODSEQ")[1] == [b"2"]
assert c.uid("STORE", "1", "(UNCHANGEDSINCE 1)", "+FLAGS", "(\\Draft)")[0] == "OK"
assert c.response("MODIFIED")[1] == [b"1"]
assert c.uid("STORE", "1", "(UNCHANGEDSINCE 2)", "-FLAGS.SILENT", "(\\Flagged)") == ("OK", [b"1 (UID 1 MODSEQ (3))"])
assert c.close()[0] == "OK"
c.logout()
`, host, port)
	cmd := exec.Command("python3", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

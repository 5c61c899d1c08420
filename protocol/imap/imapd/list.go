package imapd

import (
	"context"
	"slices"
	"strings"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store/storepb"
)

// node is a name in the hierarchy: of a mailbox, or of a subscription, or only above one of these.
type node struct {
	name            string
	mailbox         *storepb.Mailbox // nil: there is none of that name
	subscribed      bool
	children        bool // mailboxes below
	subscribedBelow bool
	specialBelow    bool
}

// tree is an account's hierarchy, by name.
type tree struct {
	nodes  []*node
	byName map[string]*node
}

func (t *tree) at(name string) *node {
	n := t.byName[name]
	if n == nil {
		n = &node{name: name}
		t.byName[name] = n
		t.nodes = append(t.nodes, n)
	}
	return n
}

// above calls f for each superior of a name.
func (t *tree) above(name string, f func(*node)) {
	for i := strings.LastIndexByte(name, delimiter); i > 0; i = strings.LastIndexByte(name[:i], delimiter) {
		f(t.at(name[:i]))
	}
}

func (s *session) tree(v View) (*tree, error) {
	boxes, err := v.Mailboxes(s.account())
	if err != nil {
		return nil, err
	}
	subscriptions, err := v.Subscriptions(s.account())
	if err != nil {
		return nil, err
	}
	t := &tree{byName: make(map[string]*node, len(boxes))}
	for _, mb := range boxes {
		t.at(mb.GetName()).mailbox = mb
		t.above(mb.GetName(), func(n *node) {
			n.children = true
			n.specialBelow = n.specialBelow || mb.GetSpecialUse() != ""
		})
	}
	for _, name := range subscriptions {
		t.at(name).subscribed = true
		t.above(name, func(n *node) { n.subscribedBelow = true })
	}
	slices.SortFunc(t.nodes, func(a, b *node) int {
		if (a.name == "INBOX") != (b.name == "INBOX") { // first, as clients show it
			if a.name == "INBOX" {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return t, nil
}

// attributes of a node as LIST shows them (RFC 9051 §7.3.1).
func (n *node) attributes(subscribed bool) []imap.MailboxAttr {
	attrs := []imap.MailboxAttr{}
	if n.mailbox == nil {
		attrs = append(attrs, imap.AttrNonExistent, imap.AttrNoSelect) // RFC 5258 §3.5: old clients know only the second
	}
	if subscribed && n.subscribed {
		attrs = append(attrs, imap.AttrSubscribed)
	}
	if n.children {
		attrs = append(attrs, imap.AttrHasChildren)
	} else {
		attrs = append(attrs, imap.AttrHasNoChildren)
	}
	if use := n.mailbox.GetSpecialUse(); use != "" {
		attrs = append(attrs, imap.MailboxAttr(use))
	}
	return attrs
}

// list: RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154.
func (s *session) list(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.ListArgs)
	if !args.Extended && args.Patterns[0] == "" { // RFC 9051 §6.3.9: what is the delimiter?
		s.w.List("LIST", []imap.MailboxAttr{imap.AttrNoSelect}, delimiter, "")
		return answer{}, nil
	}
	if err := s.barrier(ctx); err != nil {
		return answer{}, err
	}
	return answer{}, s.view(func(v View) error {
		t, err := s.tree(v)
		if err != nil {
			return err
		}
		for _, n := range t.nodes {
			if err := s.listNode(v, args, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// listNode writes a node if the selection options and patterns choose it.
func (s *session) listNode(v View, args *imap.ListArgs, n *node) error {
	chosen := n.mailbox != nil || n.children && patternEnds(args, n.name)
	if args.SelectSubscribed {
		chosen = n.subscribed
	}
	if args.SelectSpecialUse {
		chosen = n.mailbox.GetSpecialUse() != "" && (!args.SelectSubscribed || n.subscribed)
	}
	// RFC 5258 §3.1: RECURSIVEMATCH also shows what only its descendants qualify, with CHILDINFO where they are subscribed.
	info := args.SelectRecursiveMatch && args.SelectSubscribed && n.subscribedBelow
	recursive := info || args.SelectRecursiveMatch && args.SelectSpecialUse && n.specialBelow
	if !chosen && !recursive || !matches(args, n.name) {
		return nil
	}
	s.w.ListExtended("LIST", n.attributes(args.SelectSubscribed || args.ReturnSubscribed), delimiter, n.name, "", info)
	if args.ReturnStatus == nil || n.mailbox == nil {
		return nil
	}
	values, err := s.statusValues(v, n.mailbox, args.ReturnStatus)
	if err == nil {
		s.w.MailboxStatus(n.name, values)
	}
	return err
}

// patternEnds says whether a name without a mailbox must be shown because "%" stops there (RFC 9051 §6.3.9): without it a client
// that looks level by level would never come to what lies below.
func patternEnds(args *imap.ListArgs, name string) bool {
	return slices.ContainsFunc(args.Patterns, func(p string) bool { return strings.HasSuffix(p, "%") && matchesOne(args.Reference+p, name) })
}

func matches(args *imap.ListArgs, name string) bool {
	return slices.ContainsFunc(args.Patterns, func(p string) bool { return matchesOne(args.Reference+p, name) })
}

// matchesOne: INBOX matches in any case (RFC 9051 §6.3.9), and a pattern is NFC as names are.
func matchesOne(pattern, name string) bool {
	pattern = mailboxName(pattern)
	return imap.MatchPattern(pattern, name, delimiter) || name == "INBOX" && imap.MatchPattern(strings.ToUpper(pattern), name, delimiter)
}

// lsub: RFC 3501 §6.3.9.
func (s *session) lsub(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.ListArgs)
	if err := s.barrier(ctx); err != nil {
		return answer{}, err
	}
	return answer{}, s.view(func(v View) error {
		t, err := s.tree(v)
		if err != nil {
			return err
		}
		for _, n := range t.nodes {
			switch {
			case !matches(args, n.name):
			case n.subscribed:
				s.w.List("LSUB", n.lsubAttributes(), delimiter, n.name)
			case n.subscribedBelow && patternEnds(args, n.name): // shown so that the client asks further
				s.w.List("LSUB", []imap.MailboxAttr{imap.AttrNoSelect}, delimiter, n.name)
			}
		}
		return nil
	})
}

func (n *node) lsubAttributes() []imap.MailboxAttr {
	if n.mailbox == nil {
		return []imap.MailboxAttr{imap.AttrNoSelect}
	}
	return []imap.MailboxAttr{}
}

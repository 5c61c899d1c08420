package state

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// checkServer refuses a record that no node would register.
func checkServer(s *storepb.Server) *storepb.Result {
	switch {
	case !validServerID(s.GetId()) || len(s.DataIncarnation) != incarnationBytes || s.Removed:
		return refuse(store.ErrInvalid, "a server without a proper id or data incarnation")
	case len(s.Name) > maxTextBytes || len(s.Address) > maxTextBytes:
		return refuse(store.ErrTooLarge, "a server whose name or address is over the limits")
	}
	return nil
}

// registerServer notes who a node is since it started. Its data incarnation never changes under one id, and a removed id never comes
// back (B5).
func (b *batch) registerServer(s *storepb.Server) (*storepb.Result, error) {
	if res := checkServer(s); res != nil {
		return res, nil
	}
	old := &storepb.Server{}
	found, err := load(b, key(tabServer, s.Id), old)
	if err != nil {
		return nil, err
	}
	switch {
	case old.Removed:
		return refuse(store.ErrConflict, "server %s was removed from the cluster: its node must join anew under a new id", s.Id), nil
	case found && !bytes.Equal(old.DataIncarnation, s.DataIncarnation):
		return refuse(store.ErrConflict, "the data of server %s were replaced: it must join anew under a new id", s.Id), nil
	case found && s.Boot > 0 && s.Boot < old.Boot:
		return refuse(store.ErrConflict, "server %s was started again since: two processes use copies of one data folder, or this word of an older one came late", s.Id), nil
	}
	s.Boot = max(s.Boot, old.Boot)
	return &storepb.Result{}, b.save(key(tabServer, s.Id), s)
}

// registerStart is the word of a process itself: it also ends what the server's earlier processes may still have under way.
func (b *batch) registerStart(s *storepb.Server) (*storepb.Result, error) {
	res, err := b.registerServer(s)
	if err != nil || res.Code != 0 {
		return res, err
	}
	return res, b.retireOthers(b.cmd.Incarnation, s.Id)
}

// retireOthers ends the incarnations of a server's earlier processes, and with them the results that were kept for these. The process
// itself registers before it proposes anything else, and an older one's word is refused by its boot number.
func (b *batch) retireOthers(own []byte, server string) error {
	var old [][]byte
	err := each(b, key(tabIncarnation), func(rest, raw []byte) (bool, error) {
		inc := &storepb.Incarnation{}
		if err := proto.Unmarshal(raw, inc); err != nil {
			return false, err
		}
		if inc.Server == server && !inc.Retired && !bytes.Equal(rest, own) {
			old = append(old, bytes.Clone(rest))
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("list the incarnations of %s: %w", server, err)
	}
	for _, incarnation := range old {
		if err := b.endIncarnation(incarnation); err != nil {
			return err
		}
	}
	return nil
}

// endIncarnation: nothing that an incarnation proposed is executed from here on.
func (b *batch) endIncarnation(incarnation []byte) error {
	inc := &storepb.Incarnation{}
	if _, err := load(b, key(tabIncarnation, incarnation), inc); err != nil {
		return err
	}
	inc.Retired = true
	results := key(tabResult, incarnation)
	if err := b.DeleteRange(results, after(results)); err != nil {
		return err
	}
	return b.save(key(tabIncarnation, incarnation), inc)
}

// removeServer forgets a server that is to be no member any longer, but for its id, which must not come back (B5). It can be said again,
// for what was noted of it while it still was a member.
func (b *batch) removeServer(id string) (*storepb.Result, error) {
	if !validServerID(id) {
		return refuse(store.ErrInvalid, "no server id"), nil
	}
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	// The mark comes before a member leaves the configuration: so a change of leader in between cannot forget who was removed.
	leaving := len(cr.TargetVoters) > 0 && !slices.Contains(cr.TargetVoters, id)
	for _, s := range b.pos.Servers {
		if s.Id == id && s.Voter && !leaving {
			return refuse(store.ErrConflict, "server %s votes: a change of the voters without it must begin first", id), nil
		}
	}
	if err := b.save(key(tabServer, id), &storepb.Server{Id: id, Removed: true}); err != nil {
		return nil, err
	}
	missing := missingKey(id, nil)
	if err := b.DeleteRange(missing, after(missing)); err != nil {
		return nil, err
	}
	own := b.cmd.Incarnation // which goes on, should a node remove itself
	return &storepb.Result{}, b.retireOthers(own, id)
}

// putInvite notes the right of one node to join. Invites that expired are forgotten here.
func (b *batch) putInvite(op *storepb.PutInvite) (*storepb.Result, error) {
	if len(op.SecretHash) != secretHashBytes {
		return refuse(store.ErrInvalid, "an invite without a proper secret"), nil
	}
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	var expired [][]byte
	live := 0
	if err := each(b, key(tabInvite), func(rest, raw []byte) (bool, error) {
		i := &storepb.Invite{}
		if err := proto.Unmarshal(raw, i); err != nil {
			return false, err
		}
		if live++; i.ExpiresTick < cr.TicksMs {
			expired = append(expired, bytes.Clone(rest))
		}
		return true, nil
	}); err != nil {
		return nil, err
	}
	for _, hash := range expired {
		if err := b.Delete(key(tabInvite, hash)); err != nil {
			return nil, err
		}
	}
	if live-len(expired) >= maxLiveInvites {
		return refuse(store.ErrTooLarge, "there are %d invites that have not expired", live-len(expired)), nil
	}
	return &storepb.Result{}, b.save(key(tabInvite, op.SecretHash), &storepb.Invite{SecretHash: op.SecretHash, ExpiresTick: op.ExpiresTick})
}

// inviteServes tells whether a server may use an invite. The one that used it in time may show it again later: it may have crashed before
// it became a member.
func inviteServes(r kv.Reader, hash []byte, server string) (*storepb.Invite, bool, error) {
	i := &storepb.Invite{}
	found, err := load(r, key(tabInvite, hash), i)
	if err != nil || !found {
		return nil, false, err
	}
	if i.UsedBy != "" {
		return i, i.UsedBy == server, nil
	}
	cr := &storepb.ClusterRecord{}
	_, err = load(r, key(tabCluster), cr)
	return i, err == nil && cr.TicksMs <= i.ExpiresTick, err
}

// InviteServes tells whether ConsumeInvite would find the invite with this hash good for a server.
func (v *View) InviteServes(hash [32]byte, server string) (bool, error) {
	_, good, err := inviteServes(v, hash[:], server)
	return good, err
}

// consumeInvite lets one node use an invite; the same node may ask again. It registers nobody but that node.
func (b *batch) consumeInvite(op *storepb.ConsumeInvite) (*storepb.Result, error) {
	if len(op.SecretHash) != secretHashBytes || op.Server == "" || op.Server != op.GetRecord().GetId() {
		return refuse(store.ErrInvalid, "no proper invite"), nil
	}
	i, good, err := inviteServes(b, op.SecretHash, op.Server)
	if err != nil {
		return nil, err
	}
	if !good {
		return refuse(store.ErrDenied, "the invite is unknown, used or expired: make a new one"), nil
	}
	if err := b.keepOwnWord(op.Record); err != nil {
		return nil, err
	}
	res, err := b.registerServer(op.Record)
	if err != nil || res.Code != 0 {
		return res, err
	}
	i.UsedBy = op.Server
	return res, b.save(key(tabInvite, op.SecretHash), i)
}

// keepOwnWord puts into a record that comes with an invite what is known of the server already: it may be a repetition that arrives after
// the node's own process has registered. Before that, only where the node is reached may have changed since it asked first.
func (b *batch) keepOwnWord(s *storepb.Server) error {
	old := &storepb.Server{}
	found, err := load(b, key(tabServer, s.Id), old)
	if err != nil || !found {
		return err
	}
	s.MaxVersion, s.Boot = old.MaxVersion, old.Boot
	if old.Boot > 0 {
		s.Name, s.Address = old.Name, old.Address
	}
	return nil
}

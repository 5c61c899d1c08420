package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/transport"
	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/durable"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// invite is what a token says: where the cluster is, how to know it, and the right to join it once.
type invite struct {
	Addresses []string `json:"a"`
	Pin       string   `json:"p"` // of the authority's certificate, in hex
	Secret    string   `json:"s"`
}

const tokenPrefix = "qm1-"

func (i invite) token() (string, error) {
	raw, err := json.Marshal(i)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw), err
}

func parseToken(s string) (i invite, pin [32]byte, err error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	raw, derr := base64.RawURLEncoding.DecodeString(body)
	if !ok || derr != nil || json.Unmarshal(raw, &i) != nil || len(i.Addresses) == 0 {
		return i, pin, errors.New("this is no invite token: make one with \"quorumail invite\" at a node of the cluster")
	}
	p, err := hex.DecodeString(i.Pin)
	if err != nil || len(p) != len(pin) {
		return i, pin, errors.New("the invite token is damaged: copy all of it, or make a new one")
	}
	return i, [32]byte(p), nil
}

// joinRequest is sent twice: to be admitted, and when the state is here to become a member.
type joinRequest struct {
	Ready           bool   `json:"ready"`
	Secret          string `json:"secret"`
	ID              string `json:"id"`
	Name            string `json:"name"`
	Address         string `json:"address"`
	DataIncarnation string `json:"data_incarnation"`
	CSR             []byte `json:"csr"`
	MaxVersion      uint32 `json:"max_version"` // of the commands that the node's program knows
}

type joinResponse struct {
	Cert []byte `json:"cert"`
	CA   []byte `json:"ca"`
	// Secrets is the cluster's key for secrets, which travels inside TLS to a node that has shown a good invite. Programs of the time before it
	// have none, and the node asks for it later.
	Secrets []byte `json:"secrets_key,omitempty"`
	Error   string `json:"error,omitempty"`
	Final   bool   `json:"final,omitempty"` // asking again does not help
}

// Names of the cluster's secrets in the replicated state.
const (
	secretCACert     = "ca.cert"
	secretCAKey      = "ca.key"
	secretGossipKeys = "gossip.keys"
)

func (n *node) makeInvite(ctx context.Context, r admin.InviteRequest) (admin.InviteResponse, error) {
	if r.ValidMinutes < 1 || r.ValidMinutes > 7*24*60 {
		return admin.InviteResponse{}, fmt.Errorf("an invite is good for 1 minute to 7 days: %w", store.ErrInvalid)
	}
	raw := make([]byte, 24)
	if _, err := rand.Read(raw); err != nil {
		return admin.InviteResponse{}, err
	}
	secret := base64.RawURLEncoding.EncodeToString(raw)
	v := n.replica.View()
	cr, err := v.Cluster()
	v.Close()
	if err != nil {
		return admin.InviteResponse{}, err
	}
	hash := sha256.Sum256([]byte(secret))
	if _, err := n.replica.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_PutInvite{PutInvite: &storepb.PutInvite{SecretHash: hash[:], ExpiresTick: cr.TicksMs + uint64(r.ValidMinutes)*60000}}
	}); err != nil {
		return admin.InviteResponse{}, err
	}
	// A cluster that was founded this moment has a leader before it has its CA.
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ca, err := n.waitAuthority(soon)
	if err != nil {
		return admin.InviteResponse{}, fmt.Errorf("wait for the cluster's CA: %w: %w", store.ErrUnavailable, err)
	}
	pin := ca.Pin()
	i := invite{Pin: hex.EncodeToString(pin[:]), Secret: secret}
	for _, s := range n.cluster.Configuration().Servers {
		i.Addresses = append(i.Addresses, s.Address)
	}
	token, err := i.token()
	return admin.InviteResponse{Token: token}, err
}

// authority reads the cluster's CA from the replicated state.
func (n *node) authority() (*transport.CA, error) {
	v := n.replica.View()
	defer v.Close()
	cert, err := v.Secret(secretCACert)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's CA: %w", err)
	}
	key, err := v.Secret(secretCAKey)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's CA: %w", err)
	}
	return transport.ParseCA(cert, key)
}

// admit answers a node that wants to join.
func (n *node) admit(ctx context.Context, from net.Addr, raw []byte) ([]byte, error) {
	var r joinRequest
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	res, err := n.admitOne(ctx, from, r)
	if err != nil {
		if !errors.Is(err, errTooManyTries) {
			n.log.Info("a node was not let in", "pkg", "main", "node", r.ID, "name", r.Name, "address", r.Address, "err", err)
		}
		res = joinResponse{Error: err.Error(), Final: errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrInvalid)}
	}
	return json.Marshal(res)
}

// admitOne uses the invite up for the server id, which may ask again: for a certificate until it is a member, and then to hear that it is.
func (n *node) admitOne(ctx context.Context, from net.Addr, r joinRequest) (joinResponse, error) {
	hash := sha256.Sum256([]byte(r.Secret))
	if err := n.checkInvite(ctx, from, hash, r.ID); err != nil {
		return joinResponse{}, err
	}
	incarnation, err := r.check()
	if err != nil {
		return joinResponse{}, err
	}
	if err := n.checkPlace(ctx, r); err != nil {
		return joinResponse{}, err
	}
	record := &storepb.Server{Id: r.ID, Name: r.Name, Address: r.Address, DataIncarnation: incarnation, MaxVersion: r.MaxVersion}
	if _, err := n.replica.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_ConsumeInvite{ConsumeInvite: &storepb.ConsumeInvite{SecretHash: hash[:], Server: r.ID, Record: record}}
	}); err != nil {
		return joinResponse{}, err
	}
	if r.Ready {
		return joinResponse{}, n.cluster.AddNonvoter(ctx, cluster.ServerID(r.ID), r.Address)
	}
	ca, err := n.authority()
	if err != nil {
		return joinResponse{}, err
	}
	cert, err := ca.SignNode(r.CSR, r.ID)
	if err != nil {
		return joinResponse{}, fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	res := joinResponse{Cert: cert, CA: ca.PEM()}
	if k := n.secrets.key.Load(); k != nil {
		res.Secrets = k.raw
	}
	return res, nil
}

// checkInvite looks, before anything is proposed, whether the invite is good: whoever asks has shown no certificate, and could fill the
// log. What this node does not know yet it asks the leader for, but not often for a stranger.
func (n *node) checkInvite(ctx context.Context, from net.Addr, hash [32]byte, server string) error {
	good, err := n.inviteServes(hash, server)
	if good || err != nil {
		return err
	}
	if !n.strangers.allow(from, time.Now()) {
		return errTooManyTries
	}
	if err := n.catchUp(ctx); err != nil {
		return err
	}
	if good, err = n.inviteServes(hash, server); err == nil && !good {
		err = fmt.Errorf("the invite is unknown, used or expired: make a new one: %w", store.ErrDenied)
	}
	return err
}

func (n *node) inviteServes(hash [32]byte, server string) (bool, error) {
	v := n.replica.View()
	defer v.Close()
	return v.InviteServes(hash, server)
}

// catchUp waits until this node knows what the cluster knows.
func (n *node) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return n.cluster.ReadBarrier(ctx)
}

// checkPlace refuses a node that is there already, and one at the address of another, which may be gone: before that one is removed, what
// is meant for it would come to the new node (B5).
func (n *node) checkPlace(ctx context.Context, r joinRequest) error {
	err := r.place(n.cluster.Configuration())
	if err == nil {
		return nil
	}
	if err := n.catchUp(ctx); err != nil { // it may have been removed just now
		return err
	}
	return r.place(n.cluster.Configuration())
}

func (r joinRequest) place(c cluster.Configuration) error {
	for _, m := range c.Servers {
		switch {
		case m.ID == cluster.ServerID(r.ID) && r.Ready:
			return nil
		case m.ID == cluster.ServerID(r.ID):
			return fmt.Errorf("the node %s is a member already: %w", r.ID, store.ErrDenied)
		case m.Address == r.Address:
			return fmt.Errorf("the address %s is that of node %s: remove it first (quorumail node remove %s), or give the new node its own: %w", r.Address, m.ID, m.ID, store.ErrConflict)
		}
	}
	return nil
}

// check refuses what no node of ours says of itself: it comes from somebody who has shown no certificate.
func (r joinRequest) check() (incarnation []byte, err error) {
	incarnation, err = hex.DecodeString(r.DataIncarnation)
	id, iderr := hex.DecodeString(r.ID)
	if err != nil || iderr != nil || len(incarnation) != 16 || len(id) != 8 || r.ID != strings.ToLower(r.ID) {
		return nil, fmt.Errorf("the id of the node or of its data is none: %w", store.ErrInvalid)
	}
	if _, _, err := net.SplitHostPort(r.Address); err != nil || len(r.Address) > 300 || len(r.Name) > 63 || r.Name == "" {
		return nil, fmt.Errorf("the name or the address of the node is none: %w", store.ErrInvalid)
	}
	if r.MaxVersion == 0 {
		return nil, fmt.Errorf("the node does not say which commands it knows: %w", store.ErrInvalid)
	}
	return incarnation, nil
}

// joinFile keeps, until the node is a member, what it takes to go on with joining: an invite is good for one server id only.
const joinFile = "joining.json"

// joiner is this node while it joins.
type joiner struct {
	Token    string      `json:"token"`
	Identity identity    `json:"identity"`
	Key      []byte      `json:"key"`
	Request  joinRequest `json:"request"`

	invite   invite
	pin      [32]byte
	hasState bool // node.json is there: only membership is missing
}

// newJoiner goes on with a joining that was begun with this token, or begins. It is nil when there is neither.
func newJoiner(cfg *config.Config, token string) (*joiner, error) {
	j, err := loadJoiner(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	if j != nil && (token == "" || token == j.Token) {
		j.hasState = false
		j.Request.Name, j.Request.Address = cfg.Name, cfg.Cluster.Advertise
		return j, nil
	}
	if token == "" {
		return nil, nil
	}
	j = &joiner{Token: token, Identity: newIdentity(false)}
	if j.invite, j.pin, err = parseToken(token); err != nil {
		return nil, err
	}
	var csr []byte
	if j.Key, csr, err = transport.NewKey(); err != nil {
		return nil, err
	}
	j.Request = joinRequest{Secret: j.invite.Secret, ID: string(j.Identity.ID), Name: cfg.Name, Address: cfg.Cluster.Advertise, DataIncarnation: j.Identity.DataIncarnation, CSR: csr}
	raw, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	return j, durable.WriteFile(filepath.Join(cfg.DataDir, joinFile), raw, 0o600)
}

// loadJoiner is nil when this node is not joining.
func loadJoiner(dataDir string) (*joiner, error) {
	raw, err := os.ReadFile(filepath.Join(dataDir, joinFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is known of joining: %w", err)
	}
	j := &joiner{hasState: true}
	if err := json.Unmarshal(raw, j); err != nil {
		return nil, fmt.Errorf("read %s: %w", joinFile, err)
	}
	j.invite, j.pin, err = parseToken(j.Token)
	return j, err
}

// askToJoin gets this node's certificate. What it saves is not yet a node: node.json comes last.
func (j *joiner) askToJoin(ctx context.Context) (credentials, error) {
	res, err := j.ask(ctx)
	if err != nil {
		return credentials{}, err
	}
	return credentials{cert: res.Cert, key: j.Key, ca: res.CA, secrets: res.Secrets}, nil
}

// errFinal marks a refusal that asking again does not change.
var errFinal = errors.New("the cluster refuses")

// ask tries each address of the invite.
func (j *joiner) ask(ctx context.Context) (joinResponse, error) {
	j.Request.MaxVersion = state.CommandVersion // this program's, which may be newer than the one that began to join
	raw, err := json.Marshal(j.Request)
	if err != nil {
		return joinResponse{}, err
	}
	var errs []error
	for _, a := range j.invite.Addresses {
		try, cancel := context.WithTimeout(ctx, 30*time.Second)
		answer, err := cluster.Join(try, a, j.pin, raw)
		cancel()
		var res joinResponse
		if err == nil {
			err = json.Unmarshal(answer, &res)
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", a, err))
		case res.Final:
			return res, fmt.Errorf("%w: %s", errFinal, res.Error)
		case res.Error != "":
			errs = append(errs, fmt.Errorf("%s: %s", a, res.Error))
		default:
			return res, nil
		}
	}
	return joinResponse{}, errors.Join(errs...)
}

// fetchState brings the state of a member, before this node is one.
func (j *joiner) fetchState(ctx context.Context, port *transport.Port, dataDir string, m cluster.Machine, fs vfs.FS) error {
	var errs []error
	for _, a := range j.invite.Addresses {
		err := cluster.FetchCheckpoint(ctx, port, a, dataDir, m, fs)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// becomeMember asks, until it is heard, that this node be added as a member that does not vote yet.
func (j *joiner) becomeMember(ctx context.Context, dataDir string, log *slog.Logger) error {
	j.Request.Ready = true
	for {
		_, err := j.ask(ctx)
		if err == nil {
			return durable.Remove(filepath.Join(dataDir, joinFile))
		}
		if errors.Is(err, errFinal) || ctx.Err() != nil {
			return fmt.Errorf("become a member: %w", err)
		}
		log.Warn("this node is no member yet, and asks again", "pkg", "main", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

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
	"strings"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/transport"
	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/store"
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
}

type joinResponse struct {
	Cert []byte `json:"cert"`
	CA   []byte `json:"ca"`
}

// Names of the cluster's secrets in the replicated state.
const (
	secretCACert = "ca.cert"
	secretCAKey  = "ca.key"
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
	ca, err := n.authority()
	if err != nil {
		return admin.InviteResponse{}, err
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

// admit answers a node that wants to join: the invite is used up by its server id, which may ask again.
func (n *node) admit(ctx context.Context, raw []byte) ([]byte, error) {
	var r joinRequest
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	incarnation, err := hex.DecodeString(r.DataIncarnation)
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	hash := sha256.Sum256([]byte(r.Secret))
	record := &storepb.Server{Id: r.ID, Name: r.Name, Address: r.Address, DataIncarnation: incarnation, MaxVersion: state.CommandVersion}
	if _, err := n.replica.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_ConsumeInvite{ConsumeInvite: &storepb.ConsumeInvite{SecretHash: hash[:], Server: r.ID, Record: record}}
	}); err != nil {
		return nil, err
	}
	if r.Ready {
		return []byte("{}"), n.cluster.AddNonvoter(ctx, cluster.ServerID(r.ID), r.Address)
	}
	ca, err := n.authority()
	if err != nil {
		return nil, err
	}
	cert, err := ca.SignNode(r.CSR, r.ID)
	if err != nil {
		return nil, err
	}
	return json.Marshal(joinResponse{Cert: cert, CA: ca.PEM()})
}

// joiner is this node while it joins.
type joiner struct {
	invite invite
	pin    [32]byte
	req    joinRequest
}

// askToJoin makes this node's identity and gets its certificate. What it saves is not yet a node: node.json comes last.
func askToJoin(ctx context.Context, cfg *config.Config, token string) (identity, *joiner, credentials, error) {
	id := newIdentity(false)
	inv, pin, err := parseToken(token)
	if err != nil {
		return id, nil, credentials{}, err
	}
	key, csr, err := transport.NewKey()
	if err != nil {
		return id, nil, credentials{}, err
	}
	j := &joiner{inv, pin, joinRequest{Secret: inv.Secret, ID: string(id.ID), Name: cfg.Name, Address: cfg.Cluster.Advertise, DataIncarnation: id.DataIncarnation, CSR: csr}}
	raw, err := j.ask(ctx)
	if err != nil {
		return id, nil, credentials{}, err
	}
	var res joinResponse
	if err := json.Unmarshal(raw, &res); err != nil {
		return id, nil, credentials{}, fmt.Errorf("read the cluster's answer: %w", err)
	}
	return id, j, credentials{res.Cert, key, res.CA}, nil
}

// ask tries each address of the invite.
func (j *joiner) ask(ctx context.Context) ([]byte, error) {
	raw, err := json.Marshal(j.req)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, a := range j.invite.Addresses {
		try, cancel := context.WithTimeout(ctx, 30*time.Second)
		res, err := cluster.Join(try, a, j.pin, raw)
		cancel()
		if err == nil {
			return res, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// fetchState brings the state of a member, before this node is one.
func (j *joiner) fetchState(ctx context.Context, port *transport.Port, dataDir string, m cluster.Machine) error {
	var errs []error
	for _, a := range j.invite.Addresses {
		err := cluster.FetchCheckpoint(ctx, port, a, dataDir, m, nil)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// becomeMember asks, until it is heard, that this node be added as a member that does not vote yet.
func (j *joiner) becomeMember(ctx context.Context) error {
	j.req.Ready = true
	_, err := j.ask(ctx)
	return err
}

package directory

import (
	"context"
	"net/netip"

	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
	"github.com/quorumail/quorumail/store"
)

// SMTPAuth is the directory as smtpd asks it.
func (d *Directory) SMTPAuth() smtpd.Auth { return smtpAuth{d} }

type smtpAuth struct{ d *Directory }

// Authenticate implements smtpd.Auth.
func (a smtpAuth) Authenticate(ctx context.Context, remote netip.Addr, user, password string) (smtpd.Identity, error) {
	id, err := a.d.Authenticate(ctx, remote, user, password)
	return smtpd.Identity{Account: id.Account, Address: id.Address}, err
}

// SCRAMParameters implements smtpd.Auth.
func (a smtpAuth) SCRAMParameters(ctx context.Context, user string) ([]byte, int, error) {
	return a.d.SCRAMParameters(ctx, user)
}

// FinishSCRAM implements smtpd.Auth.
func (a smtpAuth) FinishSCRAM(ctx context.Context, remote netip.Addr, user string, proves func(sasl.SCRAM) bool) (smtpd.Identity, error) {
	id, err := a.d.FinishSCRAM(ctx, remote, user, proves)
	return smtpd.Identity{Account: id.Account, Address: id.Address}, err
}

// MaySendAs implements smtpd.Auth.
func (a smtpAuth) MaySendAs(ctx context.Context, id store.AccountID, address smtp.Address) (bool, error) {
	return a.d.MaySendAs(ctx, id, address)
}

var _ smtpd.Resolver = (*Directory)(nil)

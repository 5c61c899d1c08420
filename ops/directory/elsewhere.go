package directory

import (
	"context"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// Elsewhere implements smtpd.Resolver: nil when mail may go to an address whose domain is not of this site. It asks Config.Elsewhere.
func (d *Directory) Elsewhere(ctx context.Context, address smtp.Address) error {
	if d.cfg.Elsewhere == nil {
		return nil
	}
	return d.cfg.Elsewhere(ctx, address)
}

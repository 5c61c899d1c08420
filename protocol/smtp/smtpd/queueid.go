package smtpd

import (
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
)

func newQueueID(now time.Time) string { return smtp.NewQueueID(now) }

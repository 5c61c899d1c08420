package store

// Queue is where a message waits for one of its recipients. The numbers are part of the replicated format.
type Queue uint32

// The queues. A message without a reason to wait is in none.
const (
	QueueIn     Queue = 1 // accepted; its checks or its routing are not done
	QueueLocal  Queue = 2 // for a mailbox that cannot take it now
	QueueRemote Queue = 3 // for another system
)

// String is the queue's name for people.
func (q Queue) String() string {
	switch q {
	case QueueIn:
		return "in"
	case QueueLocal:
		return "local"
	case QueueRemote:
		return "remote"
	}
	return "unknown"
}

// Notify says which notices a sender asked for (RFC 3461 §4.1). 0: the sender did not say.
type Notify uint32

// The bits of Notify.
const (
	NotifyNever   Notify = 1
	NotifySuccess Notify = 2
	NotifyFailure Notify = 4
	NotifyDelay   Notify = 8
)

// Notice is what the sender of a message is to be told of one recipient (RFC 3464 §2.3.3).
type Notice uint32

// The notices. With all but NoticeDelayed the recipient's entry waits for nothing else any more.
const (
	NoticeNone      Notice = 0
	NoticeFailed    Notice = 1
	NoticeDelayed   Notice = 2
	NoticeDelivered Notice = 3
	NoticeRelayed   Notice = 4 // handed to a system that promises no notices
	NoticeExpanded  Notice = 5
)

// AttemptResult is how an attempt ended.
type AttemptResult uint32

// The results of attempts.
const (
	AttemptDelivered AttemptResult = 1
	AttemptDeferred  AttemptResult = 2
	AttemptFailed    AttemptResult = 3
	AttemptDiscarded AttemptResult = 4 // a route says so
)

// QueueAction is what an administrator does with entries.
type QueueAction uint32

// The actions.
const (
	ActionRetry   QueueAction = 1
	ActionHold    QueueAction = 2
	ActionRelease QueueAction = 3
	ActionBounce  QueueAction = 4
	ActionDelete  QueueAction = 5
)

// ResendKeyBytes is the length of what a client's second try is known by.
const ResendKeyBytes = 32

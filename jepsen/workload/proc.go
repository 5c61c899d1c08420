package workload

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

// homeAfter is how long a process stays away from its own node. If none went back, all would be at one node after some faults, and its failure
// would look like the whole system's.
const homeAfter = 2 * time.Second

// maxSessions bounds the IMAP connections that a process keeps.
const maxSessions = 12

// errNoNode is a moment without nodes.
var errNoNode = errors.New("there is no node")

// proc is one client. It belongs to one goroutine.
type proc struct {
	env      *Env
	workload string
	p        int
	rng      *rand.Rand
	at       string    // name of the node that it sticks to; "" none yet
	moved    time.Time // when it last went to another one
	sessions map[sessionKey]*session
	nextRead time.Time // see mayRead
}

type sessionKey struct{ node, account string }

// session is a connection with its number in the history.
type session struct {
	*client.IMAP
	number  int
	node    client.Node
	account Account
	view    *history.Mailbox // the selected mailbox as it was read last; nil: not read
}

func newProc(env *Env, workload string, p int) *proc {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", workload, p)
	return &proc{env: env, workload: workload, p: p, rng: rand.New(rand.NewPCG(env.Seed, h.Sum64())), sessions: map[sessionKey]*session{}}
}

// run calls step until ctx ends, each time with a context that does not: an operation that has begun shall know its outcome. After an
// error it goes on at the next node, a little later.
func (p *proc) run(ctx context.Context, step func(context.Context) error) {
	defer p.close()
	whole := context.WithoutCancel(ctx)
	for failures := 0; ctx.Err() == nil; {
		if err := step(whole); err != nil {
			p.env.log().Debug("an operation was not acknowledged", "workload", p.workload, "process", p.p, "node", p.at, "err", err)
			p.moveOn()
			failures = min(failures+1, 4) // 160 ms at most: a gap in service must show as it is
			p.sleep(ctx, time.Duration(p.rng.Int64N(int64(10*time.Millisecond)<<failures)))
			continue
		}
		failures = 0
		if p.env.Pause > 0 {
			p.sleep(ctx, time.Duration(p.rng.Int64N(int64(2*p.env.Pause))))
		}
	}
}

func (p *proc) close() {
	for _, s := range p.sessions {
		s.Close()
	}
	clear(p.sessions)
}

func (p *proc) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// node is where the process does its next operation: at its own node, or for a while at the next one.
func (p *proc) node() (client.Node, error) {
	nodes := p.env.Nodes()
	if len(nodes) == 0 {
		return client.Node{}, errNoNode
	}
	home := nodes[max(p.p, 0)%len(nodes)] // spread over the nodes
	if time.Since(p.moved) > homeAfter {
		p.at = home.Name
		return home, nil
	}
	for _, n := range nodes {
		if n.Name == p.at {
			return n, nil
		}
	}
	p.at = home.Name
	return home, nil
}

// other is a node that is not the given one, if there are two.
func (p *proc) other(name string) (client.Node, error) {
	var rest []client.Node
	nodes := p.env.Nodes()
	for _, n := range nodes {
		if n.Name != name {
			rest = append(rest, n)
		}
	}
	if len(rest) == 0 {
		rest = nodes
	}
	if len(rest) == 0 {
		return client.Node{}, errNoNode
	}
	return rest[p.rng.IntN(len(rest))], nil
}

// moveOn makes the next node the one to stick to.
func (p *proc) moveOn() {
	p.moved = time.Now()
	nodes := p.env.Nodes()
	for i, n := range nodes {
		if n.Name == p.at {
			p.at = nodes[(i+1)%len(nodes)].Name
			return
		}
	}
	p.at = ""
}

// begin starts an operation.
func (p *proc) begin(kind history.Kind, node string) history.Op {
	return history.Op{Workload: p.workload, Process: p.p, Node: node, Kind: kind, Invoke: p.env.History.Now()}
}

// end records an operation with its outcome, and returns err.
func (p *proc) end(op history.Op, err error) error {
	op.Return = p.env.History.Now()
	op.Outcome = client.Outcome(err)
	if err != nil {
		op.Error = err.Error()
	}
	p.env.History.Op(op)
	return err
}

// session is a connection of an account at a node: the one that there is if it works, else a new one. Call it after begin.
func (p *proc) session(ctx context.Context, n client.Node, a Account) (*session, error) {
	key := sessionKey{n.Name, a.Address}
	if s := p.sessions[key]; s != nil {
		if s.Alive() {
			return s, nil
		}
		p.drop(s)
	}
	if len(p.sessions) >= maxSessions {
		for _, s := range p.sessions { // any one
			p.drop(s)
			break
		}
	}
	c, err := client.DialIMAP(ctx, p.env.options(), n, a.Address, a.Password)
	if err != nil {
		// Whatever became of the login, what was to be done in the session cannot have happened.
		return nil, &client.OpError{Outcome: history.Fail, Err: err}
	}
	s := &session{IMAP: c, number: p.env.newSession(), node: n, account: a}
	p.sessions[key] = s
	return s, nil
}

func (p *proc) drop(s *session) {
	s.Close()
	delete(p.sessions, sessionKey{s.node.Name, s.account.Address})
}

func (e *Env) newSession() int { return int(e.sessions.Add(1)) }

// newID makes the id of a message, unique in the run.
func (p *proc) newID() string {
	return fmt.Sprintf("%s-%d-%d.%s", p.workload, p.p, p.env.ids.Add(1), p.env.tag())
}

package filter

import (
	"context"
	"errors"
	"reflect"
	"testing"
)

// fake is a check that says what it was told to.
type fake struct {
	verdict Verdict
	err     error
	needs   bool
	asked   *int
	then    func()
}

func (f fake) Check(context.Context, *Message) (Verdict, error) {
	*f.asked++
	if f.then != nil {
		f.then()
	}
	return f.verdict, f.err
}

func (f fake) NeedsContent(Direction) bool { return f.needs }

func TestChain(t *testing.T) {
	broken := errors.New("broken")
	tag := fake{verdict: Verdict{Action: Tag, Headers: []string{"A: 1\r\n"}, Rules: []string{"t"}}}
	hold := fake{verdict: Verdict{Action: Hold, Headers: []string{"B: 2\r\n"}, Rules: []string{"h"}}}
	deferred := fake{verdict: Verdict{Action: Tempfail, Reply: "later", Rules: []string{"d"}}}
	reject := fake{verdict: Verdict{Action: Reject, Reply: "no", Rules: []string{"r"}}}
	final := fake{verdict: Verdict{Final: true, Rules: []string{"f"}}}
	failing := fake{err: broken}
	for name, tc := range map[string]struct {
		checks []fake
		asked  int
		want   Verdict
		err    error
	}{
		"none":                    {nil, 0, Verdict{}, nil},
		"merged":                  {[]fake{tag, deferred, hold}, 3, Verdict{Action: Hold, Headers: []string{"A: 1\r\n", "B: 2\r\n"}, Rules: []string{"t", "d", "h"}}, nil},
		"the stronger before":     {[]fake{deferred, tag}, 2, Verdict{Action: Tempfail, Reply: "later", Headers: []string{"A: 1\r\n"}, Rules: []string{"d", "t"}}, nil},
		"ends at a rejection":     {[]fake{hold, reject, tag}, 2, Verdict{Action: Reject, Reply: "no", Headers: []string{"B: 2\r\n"}, Rules: []string{"h", "r"}}, nil},
		"ends when allowed":       {[]fake{tag, final, reject}, 2, Verdict{Action: Tag, Final: true, Headers: []string{"A: 1\r\n"}, Rules: []string{"t", "f"}}, nil},
		"a failure":               {[]fake{failing, tag}, 2, Verdict{Action: Tag, Headers: []string{"A: 1\r\n"}, Rules: []string{"t"}}, broken},
		"rejected all the same":   {[]fake{failing, reject}, 2, Verdict{Action: Reject, Reply: "no", Rules: []string{"r"}}, nil},
		"a failure, then allowed": {[]fake{failing, final, reject}, 2, Verdict{Final: true, Rules: []string{"f"}}, broken},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			var c Chain
			for _, f := range tc.checks {
				f.asked = &asked
				c = append(c, f)
			}
			got, err := c.Check(t.Context(), &Message{})
			if asked != tc.asked || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%d asked: %+v", asked, got)
			}
			if tc.err == nil && err != nil || tc.err != nil && (!errors.Is(err, tc.err) || !errors.Is(err, ErrUndecided)) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestChainEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	c := Chain{fake{asked: &asked, verdict: Verdict{Action: Tag}, then: cancel}, fake{asked: &asked, needs: true}}
	v, err := c.Check(ctx, &Message{})
	if asked != 1 || v.Action != Tag || !errors.Is(err, ErrUndecided) || !errors.Is(err, context.Canceled) {
		t.Errorf("%d asked: %+v, %v", asked, v, err)
	}
	if !c.NeedsContent(In) || c[:1].NeedsContent(In) {
		t.Error("NeedsContent")
	}
}

package filter

import (
	"context"
	"fmt"
	"slices"
)

// RuleSet is the operator's rules, compiled. It is a Checker, and safe for concurrent use.
type RuleSet struct {
	rules []*compiled
	// dict has the keywords of all rules; owner says whose each is.
	dict  *dictionary
	owner []int
}

// Compile checks rules and makes a RuleSet of them; their order counts for rules that allow. Errors wrap [ErrRule] and name the rule.
func Compile(rules []Rule) (*RuleSet, error) {
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("%w: %d rules, the most is %d", ErrRule, len(rules), MaxRules)
	}
	compiledRules := make([]*compiled, 0, len(rules))
	seen := map[string]bool{}
	for i, r := range rules {
		c, err := compile(r)
		if err == nil && seen[r.ID] {
			err = fmt.Errorf("the id is taken by an earlier rule")
		}
		if err != nil {
			return nil, fmt.Errorf("%w: number %d, id %q: %w", ErrRule, i+1, r.ID, err)
		}
		seen[r.ID] = true
		compiledRules = append(compiledRules, c)
	}
	return build(compiledRules)
}

// Check tells what is wrong with one rule by itself. Errors wrap [ErrRule].
func (r Rule) Check() error {
	c, err := compile(r)
	if err == nil && c.hasKeyword() {
		_, err = parseKeyword(c.Pattern)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRule, err)
	}
	return nil
}

func build(rules []*compiled) (*RuleSet, error) {
	s := &RuleSet{rules: rules}
	var keywords []keyword
	for i, c := range rules {
		if !c.hasKeyword() {
			continue
		}
		k, err := parseKeyword(c.Pattern)
		if err != nil {
			return nil, fmt.Errorf("%w: number %d, id %q: %w", ErrRule, i+1, c.ID, err)
		}
		keywords, s.owner = append(keywords, k), append(s.owner, i)
	}
	s.dict = newDictionary(keywords)
	return s, nil
}

// NeedsContent tells whether a rule for the direction looks inside the message.
func (s *RuleSet) NeedsContent(d Direction) bool {
	return slices.ContainsFunc(s.rules, func(c *compiled) bool { return c.applies(d) && c.needsContent() })
}

// Envelope returns the rules that can be judged before the content is there, at RCPT for instance: those about the envelope alone, up to
// the first rule that allows messages by their content, for such a rule may overrule all behind it. What they refuse, the whole set refuses.
func (s *RuleSet) Envelope() *RuleSet {
	out := &RuleSet{dict: newDictionary(nil)}
	for _, c := range s.rules {
		if c.needsContent() && c.Action == Allow {
			break
		}
		if !c.needsContent() {
			out.rules = append(out.rules, c)
		}
	}
	return out
}

// Check judges the message by the rules. The content is not read when no rule needs it, nor when the envelope alone decides: a rule about it
// allows the message before any rule about the content, or rejects it and no such rule could allow it. Errors wrap [ErrUndecided]; they
// come from reading the content.
func (s *RuleSet) Check(ctx context.Context, m *Message) (Verdict, error) {
	l := newLook(s, m, false)
	l.envelope()
	if !l.decided() {
		if err := l.content(ctx); err != nil {
			return Verdict{}, fmt.Errorf("check message %s by the rules: %w: %w", m.QueueID, ErrUndecided, err)
		}
	}
	return l.verdict(), nil
}

// Match tells that a rule matched, and where.
type Match struct {
	Rule Rule
	// Where is the field of the rule, with the part of the message: "body, part 1.2 (text/html)".
	Where string
	// Excerpt is the original text around what was found, on one line.
	Excerpt string
	// Counts is false when an earlier rule allowed the message.
	Counts bool
}

// Explanation is what `quorumail policy test` shows.
type Explanation struct {
	Matches []Match // in the order of the rules
	Verdict Verdict
	// Truncated tells that the message has more than is looked at.
	Truncated bool
}

// Explain judges the message as Check does, and tells which rules matched where. It looks at all of them, also where the verdict is clear
// before. Errors wrap [ErrUndecided].
func (s *RuleSet) Explain(ctx context.Context, m *Message) (Explanation, error) {
	l := newLook(s, m, true)
	l.envelope()
	if l.wantsContent() {
		if err := l.content(ctx); err != nil {
			return Explanation{}, fmt.Errorf("explain message %s: %w: %w", m.QueueID, ErrUndecided, err)
		}
	}
	return l.explanation(), nil
}

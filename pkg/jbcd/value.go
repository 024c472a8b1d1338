package jbcd

import (
	"bytes"
	"slices"
)

// Valid checks data against JSON (raw control characters in strings allowed, but NUL), limits, UTF-8 and duplicate
// members; one value, white space around it.
func Valid(data []byte, l Limits) error {
	s := scanners.Get().(*scanner)
	defer s.free()
	if err := s.init(data, l); err != nil {
		return err
	}
	t, err := s.value()
	if err != nil {
		return err
	}
	if err := s.skip(t); err != nil {
		return err
	}
	return s.finish()
}

// Member is one member of an object, name decoded, value raw.
type Member struct {
	Name  string
	Start int // offset of the member (its name's quote) in the input
	End   int // offset after its value
	Value Raw
}

// Object splits an object into its members; duplicates are refused, also inside the values. The values share the
// memory of raw.
func Object(raw []byte) ([]Member, error) {
	members, _, err := object(raw)
	return members, err
}

// object also returns the offset after the opening brace.
func object(raw []byte) ([]Member, int, error) {
	s := scanners.Get().(*scanner)
	defer s.free()
	if err := s.init(raw, DefaultLimits); err != nil {
		return nil, 0, err
	}
	t, err := s.value()
	if err != nil {
		return nil, 0, err
	}
	if t.kind != kindObject {
		return nil, 0, wrongKind(s, t, "an object")
	}
	open := t.end
	var members []Member
	for {
		name, more, err := s.name()
		if err != nil {
			return nil, 0, err
		}
		if !more {
			return members, open, s.finish()
		}
		m := Member{Name: string(s.text(name)), Start: name.start - 1}
		if m.Value, err = s.raw(); err != nil {
			return nil, 0, err
		}
		m.End = s.pos
		members = append(members, m)
	}
}

// Array splits an array into its elements, which share the memory of raw.
func Array(raw []byte) ([]Raw, error) {
	s := scanners.Get().(*scanner)
	defer s.free()
	if err := s.init(raw, DefaultLimits); err != nil {
		return nil, err
	}
	t, err := s.value()
	if err != nil {
		return nil, err
	}
	if t.kind != kindArray {
		return nil, wrongKind(s, t, "an array")
	}
	elements, err := s.elements()
	if err != nil {
		return nil, err
	}
	return elements, s.finish()
}

// Tagged splits {"Tag": value}: an object with exactly one member (TStruct).
func Tagged(raw []byte) (tag string, value Raw, err error) { return TaggedLimits(raw, DefaultLimits) }

// TaggedLimits is Tagged with other limits. It reads no further than the second member.
func TaggedLimits(raw []byte, l Limits) (tag string, value Raw, err error) {
	s := scanners.Get().(*scanner)
	defer s.free()
	if err := s.init(raw, l); err != nil {
		return "", nil, err
	}
	t, err := s.value()
	if err != nil {
		return "", nil, err
	}
	if t.kind != kindObject {
		return "", nil, wrongKind(s, t, "an object")
	}
	for n := 0; ; n++ {
		name, more, err := s.name()
		switch {
		case err != nil:
			return "", nil, err
		case more == (n > 0):
			return "", nil, s.fail(t.start, "want exactly one member, the tag")
		case !more:
			return tag, value, s.finish()
		}
		tag = string(s.text(name))
		if value, err = s.raw(); err != nil {
			return "", nil, err
		}
	}
}

// Tag writes {"tag": value}.
func Tag(tag string, value any) ([]byte, error) {
	out := append([]byte{'{'}, nil...)
	out, err := appendString(out, tag)
	if err != nil {
		return nil, err
	}
	out = append(out, ':')
	if out, err = appendValue(out, value); err != nil {
		return nil, within(err, tag)
	}
	return append(out, '}'), nil
}

// Without returns object raw without the named members; everything else stays as received. Names that are not
// there are no error. The result has memory of its own.
func Without(raw []byte, names ...string) ([]byte, error) {
	members, open, err := object(raw)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(raw))
	kept := 0    // input up to here is dealt with
	last := open // end of the last member that stays
	for i, m := range members {
		switch {
		case !slices.Contains(names, m.Name):
			out = append(out, raw[kept:m.End]...)
			kept, last = m.End, m.End
		case last == open: // nothing before it stays: the comma after it goes
			if i == 0 {
				out = append(out, raw[:m.Start]...)
			}
			kept = m.End
			if i+1 < len(members) {
				kept = members[i+1].Start
			}
		default: // the comma before it goes
			kept = m.End
		}
	}
	return append(out, raw[kept:]...), nil
}

// With returns object raw with members appended last, each as `,"Name":Value` right after the last one, so that
// Without gives back raw. The names must not be present. Start and End are not used.
func With(raw []byte, members ...Member) ([]byte, error) {
	have, at, err := object(raw)
	if err != nil {
		return nil, err
	}
	n := len(raw)
	for _, m := range members {
		n += len(m.Name) + len(m.Value) + 4
	}
	if len(have) > 0 {
		at = have[len(have)-1].End
	}
	out := append(make([]byte, 0, n), raw[:at]...)
	for i, m := range members {
		same := func(h Member) bool { return h.Name == m.Name }
		if slices.ContainsFunc(have, same) || slices.ContainsFunc(members[:i], same) {
			return nil, within(&Error{Offset: at, Reason: "the member is there already"}, m.Name)
		}
		if err := Valid(m.Value, DefaultLimits); err != nil {
			return nil, within(err, m.Name)
		}
		if i > 0 || len(have) > 0 {
			out = append(out, ',')
		}
		if out, err = appendString(out, m.Name); err != nil {
			return nil, err
		}
		out = append(out, ':')
		out = append(out, bytes.TrimSpace(m.Value)...)
	}
	return append(out, raw[at:]...), nil
}

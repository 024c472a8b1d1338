package jbcd

import (
	"bytes"
	"strconv"
	"sync"
	"unicode/utf8"
)

// kind is the kind of a value's first token.
type kind uint8

const (
	kindObject kind = iota + 1
	kindArray
	kindString
	kindNumber
	kindTrue
	kindFalse
	kindNull
)

func (k kind) String() string {
	switch k {
	case kindObject:
		return "an object"
	case kindArray:
		return "an array"
	case kindString:
		return "a string"
	case kindNumber:
		return "a number"
	case kindTrue, kindFalse:
		return "a boolean"
	case kindNull:
		return "null"
	}
	return "nothing"
}

// token is the first token of a value, or the name of a member.
type token struct {
	kind       kind
	escaped    bool // string: has escapes
	start, end int  // string: between the quotes; object, array: of the bracket alone
}

// scanner cuts JSON into values. The codec uses the methods value, name, element, rest and finish, and for what is
// in a token text and integer; commas, colons and white space stay in here. Every octet is checked once, duplicates
// and limits included, whether the codec wants the value or not.
type scanner struct {
	data    []byte
	pos     int
	limits  Limits
	members int
	frames  []frame  // open objects and arrays
	names   [][]byte // names seen in the open objects, outermost first

	frameBuf [16]frame
	nameBuf  [32][]byte
}

// scanners are used again: one is more than a KiB, and a request is read in a dozen pieces. There is nothing in them that
// could be seen by the next user.
var scanners = sync.Pool{New: func() any { return new(scanner) }}

// free forgets what was read and lets s be used again. Tokens and values that it returned stay good: they are of the input.
func (s *scanner) free() {
	*s = scanner{}
	scanners.Put(s)
}

// frame is an open object or array.
type frame struct {
	object bool
	begun  bool                // a member or element was read
	names  int                 // where its names begin in scanner.names
	seen   map[string]struct{} // instead of names when there are many
}

// manyMembers is where comparing each name with all before it becomes slower than a map.
const manyMembers = 16

// init prepares the scanner for data.
func (s *scanner) init(data []byte, l Limits) error {
	s.data, s.limits = data, l
	s.frames, s.names = s.frameBuf[:0], s.nameBuf[:0]
	if len(data) > l.Octets {
		return &Error{Offset: l.Octets, Reason: "too long"}
	}
	if !utf8.Valid(data) {
		i := 0
		for i < len(data) {
			r, n := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			i += n
		}
		return &Error{Offset: i, Reason: "not UTF-8"}
	}
	return nil
}

func (s *scanner) fail(offset int, reason string) error {
	return &Error{Offset: offset, Reason: reason}
}

// space skips white space and returns the octet that follows, 0 at the end of the input (a NUL octet is no
// legal character outside of a string either).
func (s *scanner) space() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// value reads the first token of a value. Objects and arrays are open after it: name or element follows.
func (s *scanner) value() (token, error) {
	c := s.space()
	start := s.pos
	switch c {
	case '{', '[':
		if len(s.frames) >= s.limits.Depth {
			return token{}, s.fail(start, "nested too deeply")
		}
		s.pos++
		s.frames = append(s.frames, frame{object: c == '{', names: len(s.names)})
		if c == '{' {
			return token{kind: kindObject, start: start, end: s.pos}, nil
		}
		return token{kind: kindArray, start: start, end: s.pos}, nil
	case '"':
		return s.quoted()
	case 't':
		return s.literal("true", kindTrue)
	case 'f':
		return s.literal("false", kindFalse)
	case 'n':
		return s.literal("null", kindNull)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number()
	}
	if start >= len(s.data) {
		return token{}, s.fail(start, "unexpected end")
	}
	return token{}, s.fail(start, "want a value")
}

// name reads the name of the next member of the innermost object; false when the object is closed.
func (s *scanner) name() (token, bool, error) {
	f := &s.frames[len(s.frames)-1]
	c := s.space()
	if c == '}' {
		s.pos++
		s.names = s.names[:f.names]
		s.frames = s.frames[:len(s.frames)-1]
		return token{}, false, nil
	}
	if f.begun {
		if c != ',' {
			return token{}, false, s.fail(s.pos, "want a comma or a closing brace")
		}
		s.pos++
		c = s.space()
	}
	f.begun = true
	if c != '"' {
		return token{}, false, s.fail(s.pos, "want the name of a member")
	}
	t, err := s.quoted()
	if err != nil {
		return token{}, false, err
	}
	if err := s.count(); err != nil {
		return token{}, false, err
	}
	if !s.remember(f, s.text(t)) {
		return token{}, false, s.fail(t.start, "duplicate member")
	}
	if s.space() != ':' {
		return token{}, false, s.fail(s.pos, "want a colon")
	}
	s.pos++
	return t, true, nil
}

// element says whether the innermost array has another element, whose value follows.
func (s *scanner) element() (bool, error) {
	f := &s.frames[len(s.frames)-1]
	c := s.space()
	if c == ']' {
		s.pos++
		s.frames = s.frames[:len(s.frames)-1]
		return false, nil
	}
	if f.begun {
		if c != ',' {
			return false, s.fail(s.pos, "want a comma or a closing bracket")
		}
		s.pos++
	}
	f.begun = true
	return true, s.count()
}

// skip reads to the end of the value that began with t.
func (s *scanner) skip(t token) error {
	if t.kind != kindObject && t.kind != kindArray {
		return nil
	}
	outer := len(s.frames) - 1
	for len(s.frames) > outer {
		var more bool
		var err error
		if s.frames[len(s.frames)-1].object {
			_, more, err = s.name()
		} else {
			more, err = s.element()
		}
		if err == nil && more {
			_, err = s.value()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// raw reads a whole value and returns its octets.
func (s *scanner) raw() (Raw, error) {
	t, err := s.value()
	if err != nil {
		return nil, err
	}
	return s.rest(t)
}

// elements reads the innermost array to its end.
func (s *scanner) elements() (elements []Raw, err error) {
	for {
		more, err := s.element()
		if err != nil || !more {
			return elements, err
		}
		e, err := s.raw()
		if err != nil {
			return nil, err
		}
		if elements == nil {
			elements = make([]Raw, 0, 3) // an envelope's
		}
		elements = append(elements, e)
	}
}

// rest returns the octets of the value that began with t.
func (s *scanner) rest(t token) (Raw, error) {
	if err := s.skip(t); err != nil {
		return nil, err
	}
	start := t.start
	if t.kind == kindString {
		start--
	}
	return Raw(s.data[start:s.pos:s.pos]), nil
}

// finish checks that only white space follows.
func (s *scanner) finish() error {
	s.space()
	if s.pos < len(s.data) {
		return s.fail(s.pos, "more after the value")
	}
	return nil
}

// count counts a member or an element.
func (s *scanner) count() error {
	s.members++
	if s.members > s.limits.Members {
		return s.fail(s.pos, "too many members")
	}
	return nil
}

// remember notes a member name of f; false when it was there.
func (s *scanner) remember(f *frame, name []byte) bool {
	if f.seen != nil {
		if _, dup := f.seen[string(name)]; dup {
			return false
		}
		f.seen[string(name)] = struct{}{}
		return true
	}
	for _, n := range s.names[f.names:] {
		if bytes.Equal(n, name) {
			return false
		}
	}
	s.names = append(s.names, name)
	if len(s.names)-f.names > manyMembers {
		f.seen = make(map[string]struct{}, 4*manyMembers)
		for _, n := range s.names[f.names:] {
			f.seen[string(n)] = struct{}{}
		}
		s.names = s.names[:f.names]
	}
	return true
}

func (s *scanner) literal(word string, k kind) (token, error) {
	start := s.pos
	if len(s.data)-start < len(word) || string(s.data[start:start+len(word)]) != word {
		return token{}, s.fail(start, "want a value")
	}
	s.pos += len(word)
	return token{kind: k, start: start, end: s.pos}, nil
}

// number reads a number by the grammar of RFC 8259.
func (s *scanner) number() (token, error) {
	start, i := s.pos, s.pos
	digits := func() bool {
		from := i
		for i < len(s.data) && s.data[i]-'0' <= 9 {
			i++
		}
		return i > from
	}
	if s.data[i] == '-' {
		i++
	}
	if i < len(s.data) && s.data[i] == '0' {
		i++
	} else if !digits() {
		return token{}, s.fail(i, "want a digit")
	}
	if i < len(s.data) && s.data[i] == '.' {
		i++
		if !digits() {
			return token{}, s.fail(i, "want a digit")
		}
	}
	if i < len(s.data) && s.data[i]|0x20 == 'e' {
		i++
		if i < len(s.data) && (s.data[i] == '+' || s.data[i] == '-') {
			i++
		}
		if !digits() {
			return token{}, s.fail(i, "want a digit")
		}
	}
	s.pos = i
	return token{kind: kindNumber, start: start, end: i}, nil
}

// quoted reads a string and checks its escapes.
func (s *scanner) quoted() (token, error) {
	t := token{kind: kindString, start: s.pos + 1}
	data := s.data
	for i := t.start; i < len(data); {
		// Names and words are short; payloads are long and have nothing to stop at before the quote.
		if i-t.start == shortString {
			i += plain(data[i:])
			if i >= len(data) {
				break
			}
		}
		switch data[i] {
		case '"':
			t.end = i
			s.pos = i + 1
			return t, nil
		case '\\':
			n, reason := escapeLen(data[i:])
			if reason != "" {
				return token{}, s.fail(i, reason)
			}
			t.escaped = true
			i += n
			continue
		case 0:
			return token{}, s.fail(i, "NUL octet in a string") // no database column takes it
		}
		i++
	}
	return token{}, s.fail(s.pos, "string without end")
}

// shortString is where searching begins to beat looking at each octet.
const shortString = 8

// plain counts the octets before the first quote, backslash or NUL, or all.
func plain(b []byte) int {
	if n := bytes.IndexByte(b, '"'); n >= 0 {
		b = b[:n]
	}
	if n := bytes.IndexByte(b, '\\'); n >= 0 {
		b = b[:n]
	}
	if n := bytes.IndexByte(b, 0); n >= 0 {
		return n
	}
	return len(b)
}

// escapeLen is the length of the escape at the start of b, both halves of a surrogate pair together.
func escapeLen(b []byte) (n int, wrong string) {
	if len(b) < 2 {
		return 0, "string without end"
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, ""
	case 'u':
		r, ok := hex4(b[2:])
		if !ok {
			return 0, "bad escape"
		}
		if r < 0xD800 || r > 0xDFFF {
			return 6, ""
		}
		if r >= 0xDC00 || len(b) < 12 || b[6] != '\\' || b[7] != 'u' {
			return 0, "lone surrogate"
		}
		if low, ok := hex4(b[8:]); !ok || low < 0xDC00 || low > 0xDFFF {
			return 0, "lone surrogate"
		}
		return 12, ""
	}
	return 0, "bad escape"
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// integer returns the value of a number: digits only, for 3.0 and 1e2 are numbers, but nobody writes an index so.
func (s *scanner) integer(t token, bits int) (int64, bool) {
	n, err := strconv.ParseInt(string(s.data[t.start:t.end]), 10, bits)
	return n, err == nil
}

// text returns the decoded octets of a string: of the input itself when it has no escapes.
func (s *scanner) text(t token) []byte {
	raw := s.data[t.start:t.end]
	if !t.escaped {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			i++
			continue
		}
		n, _ := escapeLen(raw[i:])
		switch c := raw[i+1]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(raw[i+2:])
			if n == 12 {
				low, _ := hex4(raw[i+8:])
				r = 0x10000 + (r-0xD800)<<10 + (low - 0xDC00)
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
		i += n
	}
	return out
}

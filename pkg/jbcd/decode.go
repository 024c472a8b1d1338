package jbcd

import (
	"bytes"
	"encoding/base64"
	"errors"
	"reflect"
	"strconv"
	"time"
)

// Unmarshal reads data into v (structs with `json:"Name,omitempty"` tags, exact case; unknown members ignored, but
// checked; null = absent; integers/bool/string/slices/pointers/structs/Raw/Binary/Time/Unmarshaler; embedded structs are
// flattened). A wrong JSON type is an *Error naming the member path. Nothing in v shares the memory of data. After an
// error v is partly filled and of no use.
func Unmarshal(data []byte, v any) error { return UnmarshalLimits(data, v, DefaultLimits) }

// UnmarshalLimits is Unmarshal with other limits.
func UnmarshalLimits(data []byte, v any, l Limits) error {
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return errors.New("jbcd: Unmarshal needs a pointer")
	}
	p := planOf(target.Type().Elem())
	if p.err != nil {
		return p.err
	}
	s := scanners.Get().(*scanner)
	defer s.free()
	if err := s.init(data, l); err != nil {
		return err
	}
	t, err := s.value()
	if err != nil {
		return err
	}
	if t.kind == kindNull {
		return s.fail(t.start, "want a value, have null")
	}
	if err := p.read(s, t, target.Elem()); err != nil {
		return err
	}
	return s.finish()
}

func wrongKind(s *scanner, t token, want string) error {
	return s.fail(t.start, "want "+want+", have "+t.kind.String())
}

func (f *fields) read(s *scanner, t token, v reflect.Value) error {
	if t.kind != kindObject {
		return wrongKind(s, t, "an object")
	}
	next := 0 // members mostly come in the order of the fields
	for {
		name, more, err := s.name()
		if err != nil || !more {
			return err
		}
		text := s.text(name)
		i := next
		if i >= len(f.list) || f.list[i].name != string(text) {
			var known bool
			if i, known = f.byName[string(text)]; !known {
				if _, err := s.raw(); err != nil {
					return err
				}
				continue
			}
		}
		next = i + 1
		fd := &f.list[i]
		vt, err := s.value()
		if err == nil && vt.kind != kindNull {
			err = fd.plan().read(s, vt, fd.in(v))
		}
		if err != nil {
			return within(err, fd.name)
		}
	}
}

func readSlice(s *scanner, t token, v reflect.Value, elem *plan) error {
	if t.kind != kindArray {
		return wrongKind(s, t, "an array")
	}
	if elem.err != nil {
		return elem.err
	}
	v.SetZero()
	for i := 0; ; i++ {
		more, err := s.element()
		if err != nil {
			return within(err, "["+strconv.Itoa(i)+"]")
		}
		if !more {
			break
		}
		vt, err := s.value()
		if err == nil {
			if vt.kind == kindNull {
				err = wrongKind(s, vt, "an element")
			} else {
				v.Grow(1)
				v.SetLen(i + 1)
				err = elem.read(s, vt, v.Index(i))
			}
		}
		if err != nil {
			return within(err, "["+strconv.Itoa(i)+"]")
		}
	}
	if v.IsNil() {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	}
	return nil
}

func readString(s *scanner, t token, v reflect.Value) error {
	if t.kind != kindString {
		return wrongKind(s, t, "a string")
	}
	v.SetString(string(s.text(t)))
	return nil
}

func readBool(s *scanner, t token, v reflect.Value) error {
	if t.kind != kindTrue && t.kind != kindFalse {
		return wrongKind(s, t, "a boolean")
	}
	v.SetBool(t.kind == kindTrue)
	return nil
}

func readInt(s *scanner, t token, v reflect.Value) error {
	if t.kind != kindNumber {
		return wrongKind(s, t, "an integer")
	}
	n, ok := s.integer(t, v.Type().Bits())
	if !ok {
		return s.fail(t.start, "want an integer of "+strconv.Itoa(v.Type().Bits())+" bits")
	}
	v.SetInt(n)
	return nil
}

func readRaw(s *scanner, t token, v reflect.Value) error {
	raw, err := s.rest(t)
	if err != nil {
		return err
	}
	v.SetBytes(bytes.Clone(raw))
	return nil
}

func readOwn(s *scanner, t token, v reflect.Value) error {
	raw, err := s.rest(t)
	if err != nil {
		return err
	}
	if err := v.Addr().Interface().(Unmarshaler).UnmarshalJBCD(raw); err != nil {
		start := t.start
		if t.kind == kindString {
			start--
		}
		return inValue(err, start)
	}
	return nil
}

func readElements(s *scanner, t token, v reflect.Value) error {
	if t.kind != kindArray {
		return wrongKind(s, t, "an array")
	}
	elements, err := s.elements()
	if err != nil {
		return err
	}
	if err := v.Addr().Interface().(ElementsUnmarshaler).UnmarshalElements(elements); err != nil {
		return inValue(err, t.start)
	}
	return nil
}

func readBinary(s *scanner, t token, v reflect.Value) error {
	if t.kind != kindString {
		return wrongKind(s, t, "base64url")
	}
	octets, ok := DecodeBase64(s.text(t))
	if !ok {
		return s.fail(t.start, "not base64url without padding")
	}
	v.SetBytes(octets)
	return nil
}

// strict refuses bits left over at the end. Making it copies a table of 256 octets, so it is made once; it never changes.
var strict = base64.RawURLEncoding.Strict()

// DecodeBase64 decodes base64url without padding, white space dropped (D-44); false when text is anything else,
// also when the bits left over at the end are not zero: octets have one text.
func DecodeBase64(text []byte) ([]byte, bool) {
	out := make([]byte, base64.RawURLEncoding.DecodedLen(len(text)))
	n, err := strict.Decode(out, text) // drops line ends itself
	if err != nil && hasBlank(text) {
		n, err = strict.Decode(out, withoutBlanks(text))
	}
	if err != nil {
		return nil, false
	}
	return out[:n:n], true
}

// DecodeBase64InPlace is DecodeBase64 into the memory of text, which is lost: what is written never overtakes what is read.
func DecodeBase64InPlace(text []byte) ([]byte, bool) {
	out := text
	if hasBlank(text) {
		text = withoutBlanks(text)
	}
	n, err := strict.Decode(out, text)
	if err != nil {
		return nil, false
	}
	return out[:n:n], true
}

func hasBlank(text []byte) bool {
	return bytes.IndexByte(text, ' ') >= 0 || bytes.IndexByte(text, '\t') >= 0
}

func withoutBlanks(text []byte) []byte {
	packed := make([]byte, 0, len(text))
	for _, c := range text {
		if c != ' ' && c != '\t' {
			packed = append(packed, c)
		}
	}
	return packed
}

func readTime(s *scanner, t token, v reflect.Value) error {
	if t.kind != kindString {
		return wrongKind(s, t, "a time")
	}
	at, ok := parseTime(s.text(t))
	if !ok {
		return s.fail(t.start, "not an RFC 3339 time")
	}
	v.Field(0).Set(reflect.ValueOf(at))
	return nil
}

// parseTime is strict where package time is lenient (go.dev/issue/54580): an hour of one digit, a comma before the
// fraction, an offset of a day or more. A time whose year in UTC has not four digits could not be written again.
func parseTime(text []byte) (time.Time, bool) {
	const hour, offset = len("2006-01-02T"), len("+01:00")
	var at time.Time
	if bytes.IndexByte(text, ',') >= 0 || len(text) < hour+2 || text[hour+1] == ':' || at.UnmarshalText(text) != nil {
		return at, false
	}
	if zone := text[len(text)-offset:]; text[len(text)-1] != 'Z' && (string(zone[1:3]) > "23" || string(zone[4:]) > "59") {
		return at, false
	}
	at = at.UTC()
	return at, hasYear(at)
}

// hasYear says whether RFC 3339 can write the year of a time in UTC.
func hasYear(at time.Time) bool { return at.Year() >= 0 && at.Year() <= 9999 }

package jbcd

import (
	"encoding/base64"
	"errors"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
)

// Marshal writes v compactly, members in the order of the fields; members with the zero value are left out when
// tagged omitempty (empty slices, nil pointers, zero times and structs, "", 0, false).
func Marshal(v any) ([]byte, error) { return appendValue(make([]byte, 0, smallValue), v) }

// smallValue is room for most values of the Mesh that hold no payload, so that they are written without growing.
const smallValue = 512

func appendValue(out []byte, v any) ([]byte, error) {
	if v == nil {
		return nil, errors.New("jbcd: nothing to marshal")
	}
	rv := reflect.ValueOf(v)
	p := planOf(rv.Type())
	if p.err != nil {
		return nil, p.err
	}
	return p.write(out, rv)
}

func (f *fields) write(out []byte, v reflect.Value) ([]byte, error) {
	out = append(out, '{')
	first := true
	for i := range f.list {
		fd := &f.list[i]
		fv := fd.in(v)
		p := fd.plan()
		if fd.omitEmpty && p.empty(fv) {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(out, fd.key...)
		var err error
		if out, err = p.write(out, fv); err != nil {
			return nil, within(err, fd.name)
		}
	}
	return append(out, '}'), nil
}

func writeSlice(out []byte, v reflect.Value, elem *plan) ([]byte, error) {
	out = append(out, '[')
	for i := range v.Len() {
		if i > 0 {
			out = append(out, ',')
		}
		e := v.Index(i)
		if e.Kind() == reflect.Pointer && e.IsNil() {
			return nil, within(errors.New("nil element"), "["+strconv.Itoa(i)+"]")
		}
		var err error
		if out, err = elem.write(out, e); err != nil {
			return nil, within(err, "["+strconv.Itoa(i)+"]")
		}
	}
	return append(out, ']'), nil
}

func writeOwn(out []byte, v reflect.Value) ([]byte, error) {
	if !v.CanAddr() {
		c := reflect.New(v.Type()).Elem()
		c.Set(v)
		v = c
	}
	b, err := v.Addr().Interface().(Marshaler).MarshalJBCD()
	if err != nil {
		return nil, err
	}
	return append(out, b...), nil
}

func writeString(out []byte, v reflect.Value) ([]byte, error) { return appendString(out, v.String()) }

// appendString quotes s; invalid UTF-8 is refused, for our own reader would.
func appendString(out []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, errors.New("jbcd: text is not UTF-8")
	}
	out = append(out, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		out = append(out, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\n':
			out = append(out, `\n`...)
		case '\r':
			out = append(out, `\r`...)
		case '\t':
			out = append(out, `\t`...)
		default:
			const hex = "0123456789abcdef"
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(out, s[from:]...), '"'), nil
}

func writeBool(out []byte, v reflect.Value) ([]byte, error) {
	return strconv.AppendBool(out, v.Bool()), nil
}

func writeInt(out []byte, v reflect.Value) ([]byte, error) {
	return strconv.AppendInt(out, v.Int(), 10), nil
}

func writeBinary(out []byte, v reflect.Value) ([]byte, error) {
	out = append(out, '"')
	out = base64.RawURLEncoding.AppendEncode(out, v.Bytes())
	return append(out, '"'), nil
}

// writeRaw takes valid JSON only: what stands in the output must be readable.
func writeRaw(out []byte, v reflect.Value) ([]byte, error) {
	raw := v.Bytes()
	if len(raw) == 0 {
		return append(out, "null"...), nil
	}
	if err := Valid(raw, DefaultLimits); err != nil {
		return nil, err
	}
	return append(out, raw...), nil
}

func writeTime(out []byte, v reflect.Value) ([]byte, error) {
	at := v.Field(0).Interface().(time.Time).UTC()
	if !hasYear(at) {
		return nil, errors.New("jbcd: RFC 3339 has no such year")
	}
	out = append(out, '"')
	out = at.AppendFormat(out, "2006-01-02T15:04:05Z")
	return append(out, '"'), nil
}

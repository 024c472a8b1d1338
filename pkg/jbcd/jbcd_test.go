package jbcd

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type base struct {
	Service string `json:"Service,omitempty"`
	ID      Binary `json:"ID,omitempty"`
}

type inner struct {
	Index  *int64 `json:"Index,omitempty"`
	Header *bool  `json:"Header,omitempty"`
}

// swallowed keeps what it is given, as an envelope keeps its header.
type swallowed struct{ raw string }

func (s *swallowed) UnmarshalJBCD(raw Raw) error {
	if len(raw) == 0 || raw[0] != '[' {
		return errors.New("want a sequence")
	}
	s.raw = string(raw)
	return nil
}

func (s *swallowed) MarshalJBCD() ([]byte, error) { return []byte(s.raw), nil }

type outer struct {
	base
	Text  string       `json:"Text,omitempty"`
	N     int64        `json:"N,omitempty"`
	Small int8         `json:"Small,omitempty"`
	Yes   bool         `json:"Yes,omitempty"`
	Names []string     `json:"Names,omitempty"`
	In    *inner       `json:"In,omitempty"`
	Ins   []inner      `json:"Ins,omitempty"`
	Keep  Raw          `json:"Keep,omitempty"`
	At    *Time        `json:"At,omitempty"`
	When  Time         `json:"When,omitempty"`
	Own   *swallowed   `json:"Own,omitempty"`
	Owns  []*swallowed `json:"Owns,omitempty"`
	Value swallowed    `json:"Value,omitempty"`
	Self  *outer       `json:"Self,omitempty"`
	Zero  int64        `json:"Zero"`
}

func ptr[T any](v T) *T { return &v }

// C-071 … C-078: the data types of §4.4.
func TestUnmarshal(t *testing.T) {
	const in = ` { "Unknown":{"a":[1,{"b":null}],"c":"\u0000"}, "Service":"mmm","ID":"q0
  1_-w","Text":"\u00e9\ud83d\ude00\n\/é","N":9223372036854775807,"Small":-128,"Yes":true,"Names":["a",""],
  "In":{"Index":0,"Header":false,"index":7},"Ins":[{},{"Index":-3}],"Keep": {"x" : [ 1 ] } ,
  "At":"2020-07-27T02:00:00.25+02:00","When":"2020-07-27T00:00:00Z","Own":[ {"a":1} ],"Owns":[[1],[2]],"Value":[3],
  "Self":{"N":-0},"Zero":null} `
	var got outer
	if err := Unmarshal([]byte(in), &got); err != nil {
		t.Fatal(err)
	}
	want := outer{
		base: base{Service: "mmm", ID: Binary{0xab, 0x4d, 0x7f, 0xfb}[:4]}, Text: "é😀\n/é", N: 1<<63 - 1, Small: -128, Yes: true,
		Names: []string{"a", ""}, In: &inner{Index: ptr(int64(0)), Header: ptr(false)}, Ins: []inner{{}, {Index: ptr(int64(-3))}},
		Keep: Raw(`{"x" : [ 1 ] }`), At: &Time{time.Date(2020, 7, 27, 0, 0, 0, 25e7, time.UTC)},
		When: Time{time.Date(2020, 7, 27, 0, 0, 0, 0, time.UTC)}, Own: &swallowed{`[ {"a":1} ]`},
		Owns: []*swallowed{{"[1]"}, {"[2]"}}, Value: swallowed{"[3]"}, Self: &outer{},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(outer{}, swallowed{}, base{})); diff != "" {
		t.Error(diff)
	}
	out, err := Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	const compact = `{"Service":"mmm","ID":"q01_-w","Text":"é😀\n/é","N":9223372036854775807,"Small":-128,"Yes":true,"Names":["a",""],` +
		`"In":{"Index":0,"Header":false},"Ins":[{},{"Index":-3}],"Keep":{"x" : [ 1 ] },"At":"2020-07-27T00:00:00Z",` +
		`"When":"2020-07-27T00:00:00Z","Own":[ {"a":1} ],"Owns":[[1],[2]],"Value":[3],"Self":{"Zero":0},"Zero":0}`
	if string(out) != compact {
		t.Errorf("Marshal\n got %s\nwant %s", out, compact)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	deep := func(n int) string { return `{"U":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	for _, c := range []struct{ name, in, want string }{
		{"nothing", ``, "jbcd: unexpected end (offset 0)"},
		{"null at the top", `null`, "jbcd: want a value, have null (offset 0)"},
		{"array for object", `[]`, "jbcd: want an object, have an array (offset 0)"},
		{"two values", `{} {}`, "jbcd: more after the value (offset 3)"},
		{"comma at the end", `{"N":1,}`, "jbcd: want the name of a member (offset 7)"},
		{"comma at the end of an array", `{"Names":["a",]}`, "jbcd: Names[1]: want a value (offset 14)"},
		{"no comma", `{"N":1 "Zero":2}`, "jbcd: want a comma or a closing brace (offset 7)"},
		{"no colon", `{"N" 1}`, "jbcd: want a colon (offset 5)"},
		{"open object", `{"N":1`, "jbcd: want a comma or a closing brace (offset 6)"},
		{"open string", `{"Text":"abc`, "jbcd: Text: string without end (offset 8)"},
		{"C-071 quoted integer", `{"In":{"Index":"3"}}`, "jbcd: In.Index: want an integer, have a string (offset 16)"},
		{"integer with a point", `{"N":3.0}`, "jbcd: N: want an integer of 64 bits (offset 5)"},
		{"integer with an exponent", `{"N":1e2}`, "jbcd: N: want an integer of 64 bits (offset 5)"},
		{"integer too large", `{"N":9223372036854775808}`, "jbcd: N: want an integer of 64 bits (offset 5)"},
		{"leading zero", `{"N":01}`, "jbcd: want a comma or a closing brace (offset 6)"},
		{"plus", `{"N":+1}`, "jbcd: N: want a value (offset 5)"},
		{"no digit", `{"U":1.}`, "jbcd: want a digit (offset 7)"},
		{"C-074 object for sequence", `{"Ins":{}}`, "jbcd: Ins: want an array, have an object (offset 7)"},
		{"null element", `{"Ins":[{},null]}`, "jbcd: Ins[1]: want an element, have null (offset 11)"},
		{"element of the wrong type", `{"Self":{"Ins":[{},{"Index":true}]}}`, "jbcd: Self.Ins[1].Index: want an integer, have a boolean (offset 28)"},
		{"number for boolean", `{"Yes":1}`, "jbcd: Yes: want a boolean, have a number (offset 7)"},
		{"C-077 standard alphabet", `{"ID":"+/+/"}`, "jbcd: ID: not base64url without padding (offset 7)"},
		{"padding", `{"ID":"qw=="}`, "jbcd: ID: not base64url without padding (offset 7)"},
		{"left-over bits", `{"ID":"qx"}`, "jbcd: ID: not base64url without padding (offset 7)"},
		{"C-078 local time", `{"At":"27.07.2020 00:00"}`, "jbcd: At: not an RFC 3339 time (offset 7)"},
		{"time without zone", `{"At":"2020-07-27T00:00:00"}`, "jbcd: At: not an RFC 3339 time (offset 7)"},
		{"hour of one digit", `{"At":"2020-07-27T0:00:00Z"}`, "jbcd: At: not an RFC 3339 time (offset 7)"},
		{"comma before the fraction", `{"At":"2020-07-27T00:00:00,5Z"}`, "jbcd: At: not an RFC 3339 time (offset 7)"},
		{"offset of a day", `{"At":"2020-07-27T00:00:00+24:00"}`, "jbcd: At: not an RFC 3339 time (offset 7)"},
		{"offset of 60 minutes", `{"At":"2020-07-27T00:00:00+00:60"}`, "jbcd: At: not an RFC 3339 time (offset 7)"},
		{"year 10000 in UTC", `{"At":"9999-12-31T23:59:59-01:00"}`, "jbcd: At: not an RFC 3339 time (offset 7)"},
		{"year -1 in UTC", `{"At":"0000-01-01T00:00:00+01:00"}`, "jbcd: At: not an RFC 3339 time (offset 7)"},
		{"empty time", `{"At":""}`, "jbcd: At: not an RFC 3339 time (offset 7)"},
		{"duplicate", `{"N":1,"N":1}`, "jbcd: duplicate member (offset 8)"},
		{"duplicate by escape", `{"N":1,"\u004e":1}`, "jbcd: duplicate member (offset 8)"},
		{"duplicate in a skipped value", `{"U":[{"a":1,"b":{},"a":2}]}`, "jbcd: duplicate member (offset 21)"},
		{"duplicate in a raw value", `{"Keep":{"a":1,"a":2}}`, "jbcd: Keep: duplicate member (offset 16)"},
		{"Unmarshaler", `{"Owns":[[],{}]}`, "jbcd: Owns[1]: want a sequence (in the value at offset 12)"},
		{"NUL in a string", "{\"Text\":\"a\x00\"}", "jbcd: Text: NUL octet in a string (offset 10)"},
		{"NUL in a long string", "{\"Text\":\"" + strings.Repeat("a", 100) + "\x00\"}", "jbcd: Text: NUL octet in a string (offset 109)"},
		{"not UTF-8", "{\"U\":\"a\xff\"}", "jbcd: not UTF-8 (offset 7)"},
		{"surrogate in UTF-8", "{\"U\":\"\xed\xa0\x80\"}", "jbcd: not UTF-8 (offset 6)"},
		{"lone surrogate", `{"U":"\ud83d"}`, "jbcd: lone surrogate (offset 6)"},
		{"two low surrogates", `{"U":"\ude00\ude00"}`, "jbcd: lone surrogate (offset 6)"},
		{"lone low surrogate", `{"U":"\ude00\ud83d"}`, "jbcd: lone surrogate (offset 6)"},
		{"bad escape", `{"U":"\x41"}`, "jbcd: bad escape (offset 6)"},
		{"too deep", deep(32), "jbcd: nested too deeply (offset 36)"},
		{"byte order mark", "\ufeff{}", "jbcd: want a value (offset 0)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v outer
			err := Unmarshal([]byte(c.in), &v)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	if err := Unmarshal([]byte(deep(31)), new(outer)); err != nil {
		t.Errorf("32 levels: %v", err)
	}
	var e *Error
	if err := Unmarshal([]byte(`{"Own":{}}`), new(outer)); !errors.As(err, &e) || e.Path != "Own" || e.Offset != 7 || e.Err == nil {
		t.Errorf("want the path, offset and inner error, have %#v", err)
	}
}

// tagged reads itself by reading again, as a TStruct does.
type tagged struct{ In inner }

func (v *tagged) UnmarshalJBCD(raw Raw) error {
	_, body, err := Tagged(raw)
	if err != nil {
		return err
	}
	return Unmarshal(body, &v.In)
}

func (v *tagged) MarshalJBCD() ([]byte, error) { return Tag("Inner", v.In) }

func TestNestedUnmarshaler(t *testing.T) {
	var v struct {
		List []tagged `json:"List,omitempty"`
	}
	const in = `{"List":[{"Inner":{"Index":1}},{"Inner":{"Index":2}}]}`
	if err := Unmarshal([]byte(in), &v); err != nil || *v.List[1].In.Index != 2 {
		t.Fatal(v, err)
	}
	if out, err := Marshal(v); err != nil || string(out) != in {
		t.Errorf("%s %v", out, err)
	}
	for in, want := range map[string]string{
		`{"List":[{"Inner":{"Index":1},"Other":{}}]}`: "jbcd: List[0]: want exactly one member, the tag (offset 9)",
		`{"List":[{}]}`: "jbcd: List[0]: want exactly one member, the tag (offset 9)",
		`{"List":[[]]}`: "jbcd: List[0]: want an object, have an array (offset 9)",
	} {
		if err := Unmarshal([]byte(in), &v); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

// Errors go to logs, so nothing of a value may stand in them.
func TestErrorsHaveNoValues(t *testing.T) {
	for _, in := range []string{`{"N":"hunter2"}`, `{"ID":"hunter2!"}`, `{"At":"hunter2"}`, `{"hunter2":1,"hunter2":2}`, `{"hunter2":{"a":hunter2}}`} {
		if err := Unmarshal([]byte(in), new(outer)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestLimits(t *testing.T) {
	l := Limits{Depth: 2, Members: 4, Octets: 40}
	for in, ok := range map[string]bool{
		`[1,2,3,4]`:                          true,
		`[1,2,3,4,5]`:                        false,
		`{"a":1,"b":[2,3]}`:                  true,
		`{"a":1,"b":[2,3,4]}`:                false,
		`[[]]`:                               true,
		`[[[]]]`:                             false,
		`"` + strings.Repeat("x", 38) + `"`:  true,
		`"` + strings.Repeat("x", 38) + `" `: false,
	} {
		if err := Valid([]byte(in), l); (err == nil) != ok {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestManyMembers(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, `,"m%d":%d`, i, i)
	}
	in := "{" + b.String()[1:] + "}"
	if err := Valid([]byte(in), DefaultLimits); err != nil {
		t.Error(err)
	}
	for _, again := range []string{"m0", "m16", "m4999"} {
		if err := Valid([]byte(in[:len(in)-1]+`,"`+again+`":0}`), DefaultLimits); err == nil {
			t.Errorf("%s twice is accepted", again)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	for name, v := range map[string]any{
		"nil":               nil,
		"map":               map[string]int{},
		"float":             1.5,
		"float in a struct": struct{ F float64 }{},
		"text not UTF-8":    "\xff",
		"broken raw":        Raw(`{"a":}`),
		"year 10000":        Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"nil in a list":     []*inner{nil},
		"the same name": struct {
			base
			S string `json:"Service"`
		}{},
		"raw with two names": Raw(`{"a":1,"a":2}`),
	} {
		if out, err := Marshal(v); err == nil {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// What Unmarshal fills in must not change when the caller uses its buffer again.
func TestUnmarshalCopies(t *testing.T) {
	in := []byte(`{"Text":"text","ID":"q01_","Keep":["keep"],"Names":["name"]}`)
	var v outer
	if err := Unmarshal(in, &v); err != nil {
		t.Fatal(err)
	}
	for i := range in {
		in[i] = 'x'
	}
	if v.Text != "text" || string(v.Keep) != `["keep"]` || v.Names[0] != "name" || v.ID[0] != 0xab {
		t.Errorf("changed with the input: %+v", v)
	}
}

func TestSplit(t *testing.T) {
	members, err := Object([]byte(` {"a" : [1, 2] , "b\n":"x","c":null}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Member{{"a", 2, 14, Raw(`[1, 2]`)}, {"b\n", 17, 26, Raw(`"x"`)}, {"c", 27, 35, Raw(`null`)}}
	if diff := cmp.Diff(want, members); diff != "" {
		t.Error(diff)
	}
	elements, err := Array([]byte(`[ {"a":1} ,"x", [] ] `))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Raw{Raw(`{"a":1}`), Raw(`"x"`), Raw(`[]`)}, elements); diff != "" {
		t.Error(diff)
	}
	tag, body, err := Tagged([]byte(`{"Hello": {}}`))
	if err != nil || tag != "Hello" || string(body) != "{}" {
		t.Errorf("Tagged: %q %q %v", tag, body, err)
	}
	for _, in := range []string{`{}`, `{"a":1,"b":2}`, `[]`, `{"a":1}x`} { // C-076
		if _, _, err := Tagged([]byte(in)); err == nil {
			t.Errorf("Tagged accepts %s", in)
		}
	}
	out, err := Tag("Hello", base{ID: Binary{1}})
	if err != nil || string(out) != `{"Hello":{"ID":"AQ"}}` {
		t.Errorf("Tag: %s %v", out, err)
	}
}

func TestWithoutWith(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{`{}`, `{}`},
		{`{"x":1}`, `{}`},
		{`{"x":1,"y":2}`, `{}`},
		{`{"a":1,"x":2,"b":3}`, `{"a":1,"b":3}`},
		{`{"x":1,"a":2}`, `{"a":2}`},
		{`{"a":1,"y":2}`, `{"a":1}`},
		{` { "x" : {"a":"}"} , "y":[] , "a" : "1
 2" , "b":3 ,"x2":0 } `, ` { "a" : "1
 2" , "b":3 ,"x2":0 } `},
		{`{"\u0078":1,"a":{"x":1}}`, `{"a":{"x":1}}`},
	} {
		got, err := Without([]byte(c.in), "x", "y")
		if err != nil || string(got) != c.out {
			t.Errorf("Without(%s)\n got %s %v\nwant %s", c.in, got, err, c.out)
		}
		with, err := With(got, Member{Name: "x", Value: Raw("1")}, Member{Name: "y", Value: Raw("[]")})
		if err != nil {
			t.Fatal(err)
		}
		again, err := Without(with, "x", "y")
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("Without(With(%s)) = %s %v", got, again, err)
		}
	}
	for _, m := range []Member{{Name: "a", Value: Raw("1")}, {Name: "n", Value: Raw("{")}, {Name: "\xff", Value: Raw("1")}} {
		if out, err := With([]byte(`{"a":1}`), m); err == nil {
			t.Errorf("With(%q) = %s", m.Name, out)
		}
	}
}

// couple reads its own array by the elements.
type couple struct{ first, second Raw }

func (c *couple) UnmarshalElements(elements []Raw) error {
	if len(elements) != 2 {
		return errors.New("want two")
	}
	c.first, c.second = bytes.Clone(elements[0]), bytes.Clone(elements[1])
	return nil
}

func (c *couple) MarshalJBCD() ([]byte, error) {
	return append(append(append(append([]byte("["), c.first...), ','), c.second...), ']'), nil
}

func TestElements(t *testing.T) {
	type holder struct {
		N    int64    `json:"N"`
		List []couple `json:"List"`
	}
	var h holder
	if err := Unmarshal([]byte(`{"List":[[ {"a":[1]} , "x" ],[null,2]],"N":3}`), &h); err != nil {
		t.Fatal(err)
	}
	if len(h.List) != 2 || string(h.List[0].first) != `{"a":[1]}` || string(h.List[0].second) != `"x"` || string(h.List[1].first) != "null" || h.N != 3 {
		t.Errorf("%s", h.List)
	}
	for in, want := range map[string]string{
		`{"List":[[1]]}`:                  "jbcd: List[0]: want two (in the value at offset 9)",
		`{"List":[{"a":1}]}`:              "jbcd: List[0]: want an array, have an object (offset 9)",
		`{"List":[[{"a":1,"a":2},3]]}`:    "jbcd: List[0]: duplicate member (offset 18)",
		`{"List":[[1,2],[1,2}]}`:          "jbcd: List[1]: want a comma or a closing bracket (offset 19)",
		`{"List":[[1,[[[[[[[[[2]]]]]]]]]`: "jbcd: List[0]: nested too deeply (offset 17)",
	} {
		if err := UnmarshalLimits([]byte(in), &h, Limits{Depth: 8, Members: 100, Octets: 1000}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

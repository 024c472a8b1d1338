package dare

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// C-049, C-156: an envelope is a bare array; what is in it stays as it was written.
func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want Envelope
		out  string // "": as in
	}{
		"seed":               {`[{},"ewogICJIZWxsbyI6IHt9fQ",{}]`, Envelope{[]byte("{}"), []byte("{\n  \"Hello\": {}}"), []byte("{}")}, ""},
		"two elements":       {`[{"dig":"SHA2"},"AAEC"]`, Envelope{[]byte(`{"dig":"SHA2"}`), []byte{0, 1, 2}, nil}, ""},
		"empty payload":      {`[{},"",{}]`, Envelope{[]byte("{}"), nil, []byte("{}")}, ""},
		"trailer null":       {`[{},"",null]`, Envelope{[]byte("{}"), nil, nil}, `[{},""]`},
		"spaces outside":     {" [ {} ,\n\"AA\" , {} ]\n", Envelope{[]byte("{}"), []byte{0}, []byte("{}")}, `[{},"AA",{}]`},
		"spaces inside":      {"[{ \"x\" :\t1.50 },\"AA\",{ \"y\":{ } }]", Envelope{[]byte("{ \"x\" :\t1.50 }"), []byte{0}, []byte(`{ "y":{ } }`)}, ""},
		"folded":             {"[{},\"\n  AAEC\n  AwQF\",{}]", Envelope{[]byte("{}"), []byte{0, 1, 2, 3, 4, 5}, []byte("{}")}, `[{},"AAECAwQF",{}]`},
		"folded by escapes":  {`[{},"AAEC\r\n  AwQF"]`, Envelope{[]byte("{}"), []byte{0, 1, 2, 3, 4, 5}, nil}, `[{},"AAECAwQF"]`},
		"escaped characters": {`[{"k":"\u00e4\/"},"\u0041A"]`, Envelope{[]byte(`{"k":"\u00e4\/"}`), []byte{0}, nil}, `[{"k":"\u00e4\/"},"AA"]`},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Parse([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&c.want, e, emptyIsNil); d != "" {
				t.Error(d)
			}
			out, err := e.MarshalJBCD()
			if err != nil {
				t.Fatal(err)
			}
			if c.out == "" {
				c.out = c.in
			}
			if string(out) != c.out {
				t.Errorf("written %s", out)
			}
		})
	}
	var zero Envelope
	if out, err := zero.MarshalJBCD(); err != nil || string(out) != `[{},""]` {
		t.Errorf("zero value: %s, %v", out, err)
	}
}

func TestParseRefuses(t *testing.T) {
	pad := strings.Repeat("x", MaxHeader-len(`{"a":""}`))
	for name, in := range map[string]string{
		"nothing":              ``,
		"object":               `{"DareEnvelope":[{},""]}`,
		"no element":           `[]`,
		"one element":          `[{}]`,
		"four elements":        `[{},"",{},{}]`,
		"header null":          `[null,""]`,
		"header array":         `[[],""]`,
		"header string":        `["{}",""]`,
		"payload null":         `[{},null]`,
		"payload number":       `[{},1]`,
		"payload object":       `[{},{}]`,
		"trailer string":       `[{},"","{}"]`,
		"trailer array":        `[{},"",[]]`,
		"padding":              `[{},"AA=="]`,
		"standard alphabet":    `[{},"+/+/"]`,
		"left-over bits":       `[{},"AB"]`,
		"odd length":           `[{},"A"]`,
		"trailing octets":      `[{},""] x`,
		"two values":           `[{},""][{},""]`,
		"truncated":            `[{},"AA"`,
		"truncated string":     `[{},"AA`,
		"duplicate":            `[{"kid":"a","kid":"b"},""]`,
		"duplicate, escaped":   `[{"kid":"a","\u006bid":"b"},""]`,
		"duplicate deep":       `[{"x":[{"y":{"z":1,"z":1}}]},""]`,
		"duplicate in trailer": `[{},"",{"a":1,"a":1}]`,
		"not UTF-8":            "[{\"a\":\"\xff\"},\"\"]",
		"lone surrogate":       `[{"a":"\ud800"},""]`,
		"NUL":                  "[{\"a\":\"\x00\"},\"\"]",
		"deep":                 `[{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `},""]`,
		"header over 64 KiB":   `[{"a":"` + pad + `x"},""]`,
		"trailer over 64 KiB":  `[{},"",{"a":"` + pad + `x"}]`,
	} {
		if e, err := Parse([]byte(in)); err == nil {
			t.Errorf("%s: accepted as %.60q", name, e)
		}
	}
	if _, err := Parse([]byte(`[{"a":"` + pad + `"},"",{"a":"` + pad + `"}]`)); err != nil {
		t.Errorf("header and trailer of 64 KiB: %v", err)
	}
	big := Envelope{Header: []byte(`{"a":"` + pad + `x"}`)}
	if _, err := big.MarshalJBCD(); !errors.Is(err, ErrMalformed) {
		t.Errorf("header over 64 KiB written: %v", err)
	}
}

// Errors name what is wrong without octets of content.
func TestErrorsHoldNoContent(t *testing.T) {
	secret := "c2VjcmV0IGNvbnRlbnQ!"
	for _, in := range []string{`[{},"` + secret + `"]`, `[{"kid":["` + secret + `"]},""]`, `[{"Salt":"` + secret + `"},""]`} {
		e, err := Parse([]byte(in))
		if err == nil {
			_, err = e.ParseHeader()
		}
		if err == nil || strings.Contains(err.Error(), "c2Vj") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestUnmarshalKeepsNothing(t *testing.T) {
	in := []byte(`{"E":[{"kid":"K"},"AAEC",{"kid":"T"}]}`)
	var v struct {
		E *Envelope `json:"E,omitempty"`
	}
	if err := jbcd.Unmarshal(in, &v); err != nil {
		t.Fatal(err)
	}
	for i := range in {
		in[i] = 'x'
	}
	want := Envelope{[]byte(`{"kid":"K"}`), []byte{0, 1, 2}, []byte(`{"kid":"T"}`)}
	if d := cmp.Diff(&want, v.E); d != "" {
		t.Error(d)
	}
	out, err := jbcd.Marshal(&v)
	if err != nil || string(out) != `{"E":[{"kid":"K"},"AAEC",{"kid":"T"}]}` {
		t.Errorf("%s, %v", out, err)
	}
}

func TestHeaderMembers(t *testing.T) {
	text := `{"EnvelopeID":"N","dig":"SHA2","ContentMetaData":"` + b64(`{"UniqueID":"U","First":0,"Previous":3,"Other":{}}`) +
		`","ContainerInfo":{"Index":4},"cloaked":"AA","Received":"2020-07-27T10:00:00Z","PayloadDigest":"AA"}`
	e := Envelope{Header: []byte(text)}
	h, err := e.ParseHeader()
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.ParseMeta()
	if err != nil {
		t.Fatal(err)
	}
	if m.UniqueID != "U" || m.First == nil || *m.First != 0 || *m.Previous != 3 || *h.ContainerInfo.Index != 4 || h.EnvelopeID != "N" {
		t.Errorf("%+v %+v", h, m)
	}
	if m, err := (&Header{}).ParseMeta(); err != nil || m.UniqueID != "" {
		t.Errorf("no ContentMetaData: %+v, %v", m, err)
	}
	for _, bad := range []string{`{"Previous":"3"}`, `[]`, `{"a":1,"a":2}`, `{} {}`, ``} {
		h := Header{ContentMetaData: jbcd.Binary(bad)}
		if _, err := h.ParseMeta(); err == nil && bad != "" {
			t.Errorf("ContentMetaData %s accepted", bad)
		}
	}
	for _, bad := range []string{`{"signatures":{}}`, `{"recipients":[1]}`, `{"ContainerInfo":{"Index":1.5}}`, `{"Salt":"="}`, `{"kid":1}`} {
		if _, err := (&Envelope{Header: []byte(bad)}).ParseHeader(); err == nil {
			t.Errorf("header %s accepted", bad)
		}
	}
}

func TestSignaturesInBoth(t *testing.T) {
	one := []byte(`{"signatures":[{"kid":"A","signature":"AA"}]}`)
	for _, c := range []struct {
		header, trailer []byte
		n               int
		err             error
	}{
		{nil, nil, 0, nil}, {one, nil, 1, nil}, {one, []byte("{}"), 1, nil}, {[]byte("{}"), one, 1, nil}, {one, one, 0, ErrMalformed},
	} {
		list, err := (&Envelope{Header: c.header, Trailer: c.trailer}).Signatures()
		if len(list) != c.n || !errors.Is(err, c.err) {
			t.Errorf("%s %s: %d, %v", c.header, c.trailer, len(list), err)
		}
	}
}

func TestSameKID(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"MAZQ-4ASQ-M4GB-2AH6-JYBJ-G7ME-3GP3", "mazq4asqm4gb2ah6jybjg7me3gp3", true},
		{"MAZQ-4ASQ", "MAZ-Q4A-SQ", true},
		{"MAZQ-4ASQ@Example.COM", "mazq4asq@example.com", true},
		{"MAZQ-4ASQ@a-b.example", "MAZQ-4ASQ@ab.example", false},
		{"MAZQ-4ASQ", "MAZQ-4ASQ@example.com", false},
		{"MAZQ-4ASQ", "MAZQ-4AS", false},
	} {
		if SameKID(c.a, c.b) != c.want {
			t.Errorf("%s and %s the same: %v", c.a, c.b, !c.want)
		}
	}
	if got := canonicalKID("mazq4asqm4gb2ah6jybjg7me3gp3"); got != "MAZQ-4ASQ-M4GB-2AH6-JYBJ-G7ME-3GP3" {
		t.Error(got)
	}
}

func TestCheckDigest(t *testing.T) {
	e := Envelope{Payload: []byte("content")}
	digest := b64(string(e.Digest()))
	other := b64(string(bytes.Repeat([]byte{1}, 64)))
	for _, c := range []struct {
		header, trailer string
		want            error
	}{
		{`{}`, ``, nil},
		{`{"dig":"SHA2"}`, `{}`, nil},
		{`{"dig":"S512"}`, `{"PayloadDigest":"` + digest + `"}`, nil},
		{`{"PayloadDigest":"` + digest + `"}`, `{}`, nil},
		{`{"PayloadDigest":"` + digest + `"}`, `{"PayloadDigest":"` + digest + `"}`, nil},
		{`{"PayloadDigest":"` + digest + `"}`, `{"PayloadDigest":"` + other + `"}`, ErrDigest},
		{`{"PayloadDigest":"` + other + `"}`, `{"PayloadDigest":"` + digest + `"}`, ErrDigest},
		{`{}`, `{"PayloadDigest":"` + digest[:84] + `"}`, ErrDigest},
		{`{"dig":"SHA3"}`, `{}`, ErrAlgorithm},
		{`{"dig":"SHA3"}`, `{"PayloadDigest":"` + digest + `"}`, ErrAlgorithm},
	} {
		e.Header, e.Trailer = []byte(c.header), []byte(c.trailer)
		if err := e.CheckDigest(); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.header, c.trailer, err, c.want)
		}
	}
}

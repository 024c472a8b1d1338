package jbcd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func seeds(f *testing.F) {
	for _, s := range []string{
		`{"Hello":{}}`, "{\n  \"Hello\": {}}", `{"ID":"q0
  1_-w","Names":["a"],"Ins":[{"Index":1}],"Own":[{},"",{}],"Self":{"At":"2020-07-27T00:00:00.5+01:00"},"Keep":{"a":[1]}}`,
		`{"Text":"\ud83d\ude00\u0000","N":-9223372036854775808}`, `{"U":{"a":1,"a":2}}`, `[[[[1e5,0.1,-0,true,false,null]]]]`,
	} {
		f.Add([]byte(s))
	}
}

// FuzzUnmarshal: no panic; what is read is written in a form that reads back to the same octets.
func FuzzUnmarshal(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		valid := Valid(in, DefaultLimits)
		var v outer
		if err := Unmarshal(in, &v); err != nil {
			return
		}
		if valid != nil {
			t.Fatalf("Unmarshal takes what Valid refuses: %v", valid)
		}
		once, err := Marshal(&v)
		if err != nil {
			t.Fatal(err)
		}
		var w outer
		if err := Unmarshal(once, &w); err != nil {
			t.Fatalf("cannot read %s: %v", once, err)
		}
		twice, err := Marshal(&w)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(once, twice) {
			t.Fatalf("not stable\n%s\n%s", once, twice)
		}
	})
}

// FuzzWithout: members that stay keep their octets, and With undoes nothing of them.
func FuzzWithout(f *testing.F) {
	seeds(f)
	f.Add([]byte(`{ "ID" : 1 , "a":2,"N":[] ,"b":"x" }`))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := Without(in, "ID", "N")
		if err != nil {
			return
		}
		before, err := Object(in)
		if err != nil {
			t.Fatal(err)
		}
		after, err := Object(out)
		if err != nil {
			t.Fatalf("%q became %q: %v", in, out, err)
		}
		i := 0
		for _, m := range before {
			if m.Name == "ID" || m.Name == "N" {
				continue
			}
			if i >= len(after) || !bytes.Equal(in[m.Start:m.End], out[after[i].Start:after[i].End]) {
				t.Fatalf("%q became %q", in, out)
			}
			i++
		}
		if i != len(after) {
			t.Fatalf("%q became %q", in, out)
		}
		with, err := With(out, Member{Name: "ID", Value: Raw("1")}, Member{Name: "N", Value: Raw("{}")})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Without(with, "N", "ID"); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q with two and without: %q %v", out, again, err)
		}
	})
}

// FuzzValid: we take what encoding/json takes, but for what the package comment refuses, and nothing more than raw
// control characters in strings.
func FuzzValid(f *testing.F) {
	seeds(f)
	for _, s := range []string{`"\ud83d"`, "\"\x7f\x01\"", `1e400`, `[01]`, "\ufeff1", `{"a":1,"\u0061":2}`, `tru`, `-`, "\xff", `"\u00"`} {
		f.Add([]byte(s))
	}
	control := regexp.MustCompile("[\x01-\x1f]")
	strict := []string{"duplicate member", "lone surrogate", "nested too deeply", "too many members", "not UTF-8"}
	f.Fuzz(func(t *testing.T, in []byte) {
		err := Valid(in, DefaultLimits)
		switch valid := json.Valid(in); {
		case err == nil && !valid:
			// Take the control characters out of strings: it must be JSON then. Outside they may be white space.
			if !json.Valid(control.ReplaceAll(in, []byte(" "))) {
				t.Fatalf("%q is no JSON", in)
			}
		case err != nil && valid:
			var e *Error
			if !errors.As(err, &e) || !slices.Contains(strict, e.Reason) {
				t.Fatalf("%q: %v", in, err)
			}
		}
	})
}

// FuzzDecodeBase64: base64url is read as encoding/base64 reads it strictly, white space dropped, and in place the same.
func FuzzDecodeBase64(f *testing.F) {
	for _, s := range []string{"", "AA", "AB", "q0 1_\n-w\t", "A", "AA==", "+/", " ", strings.Repeat("q01_-w\r\n", 20), strings.Repeat("q0_-", 99) + "  AA"} {
		f.Add([]byte(s))
	}
	space := strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "")
	f.Fuzz(func(t *testing.T, text []byte) {
		want, err := base64.RawURLEncoding.Strict().DecodeString(space.Replace(string(text)))
		got, ok := DecodeBase64(text)
		if ok != (err == nil) || ok && !bytes.Equal(got, want) {
			t.Fatalf("%q: %x %v, want %x %v", text, got, ok, want, err)
		}
		own, ownOK := DecodeBase64InPlace(bytes.Clone(text))
		if ownOK != ok || !bytes.Equal(own, got) {
			t.Fatalf("%q in place: %x %v, want %x %v", text, own, ownOK, got, ok)
		}
	})
}

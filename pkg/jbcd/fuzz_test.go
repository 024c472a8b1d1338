package jbcd

import (
	"bytes"
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

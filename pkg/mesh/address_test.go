package mesh

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseAddress(t *testing.T) {
	const sin = "MDWA-A3BV-DQ6V-F3MA-L3RW-GITX-JAPX"
	for in, want := range map[string]Address{
		"alice@example.com":                 {Local: "alice", Domain: "example.com", Display: "alice@example.com"},
		"Alice@EXAMPLE.Com":                 {Local: "alice", Domain: "example.com", Display: "Alice@example.com"},
		"ALİCE@b\u00fccher.example":         {Local: "ali̇ce", Domain: "xn--bcher-kva.example", Display: "ALİCE@bücher.example"},
		"stra\u00dfe@example.com":           {Local: "strasse", Domain: "example.com", Display: "straße@example.com"},
		"e\u0301milie@example.com":          {Local: "émilie", Domain: "example.com", Display: "émilie@example.com"},
		"ΜΊΛΤΟΣ@example.com":                {Local: "μίλτοσ", Domain: "example.com", Display: "ΜΊΛΤΟΣ@example.com"},
		"a@b@example.com":                   {Local: "a@b", Domain: "example.com", Display: "a@b@example.com"},
		"alice@localhost":                   {Local: "alice", Domain: "localhost", Display: "alice@localhost"},
		"alice@xn--bcher-kva.example":       {Local: "alice", Domain: "xn--bcher-kva.example", Display: "alice@bücher.example"},
		"alice@mm--" + sin + ".example.com": {Local: "alice", Domain: "example.com", Display: "alice@example.com", SINUDF: sin},
		"alice@MM--" + strings.ToLower(strings.ReplaceAll(sin, "-", "")) + ".example.com": {Local: "alice", Domain: "example.com", Display: "alice@example.com", SINUDF: sin},
	} {
		got, err := ParseAddress(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
	for _, in := range []string{
		"", "alice", "@", "alice@", "@example.com", "alice@.", "alice@example..com", "alice@-a.com", "alice@exa mple.com",
		"alice@example.com.", "al ice@example.com", "al\u00a0ice@example.com", "al\x00ice@example.com", "al\u200bice@example.com",
		"al\u202eice@example.com", "alice\n@example.com", "\xff@example.com", "alice@mm--short.example.com", "alice@mm--" + sin,
		"alice@mm--MDWA-A3BV-DQ6V-F3MA-L3RW-GITX-JAP1.example.com", strings.Repeat("a", 257) + "@example.com",
		"alice@" + strings.Repeat("a.", 127) + "com", "alice@" + strings.Repeat("a", 64) + ".com", "alice@a_b.com", "alice@[127.0.0.1]",
	} {
		if a, err := ParseAddress(in); KindOf(err) != NameInvalid || err == nil {
			t.Errorf("%q is %+v %v", in, a, err)
		}
	}
}

// An address of any length is refused at once: anybody can send one, in a credential even before he is known.
func TestParseAddressBounds(t *testing.T) {
	var ideographs strings.Builder
	for i := range rune(16000) {
		ideographs.WriteRune(0x4e00 + i)
	}
	start := time.Now()
	for name, in := range map[string]string{
		"domain":        "alice@" + ideographs.String(), // Punycode takes 5 s for it
		"strong domain": "alice@mm--MDWA-A3BV-DQ6V-F3MA-L3RW-GITX-JAPX." + ideographs.String(),
		"local part":    strings.Repeat("e\u0301", 1<<20) + "@example.com",
	} {
		if _, err := ParseAddress(in); KindOf(err) != NameInvalid || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := CanonicalDomain(ideographs.String()); err == nil {
		t.Error("a domain name of 48 KiB")
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %s", d)
	}
	longest := strings.Repeat("\U00010348", maxLocal) + "@" + strings.Repeat(strings.Repeat("a", 61)+".", 4) + "com"
	if a, err := ParseAddress(longest); err != nil || a.String() != longest {
		t.Errorf("the longest address: %v", err)
	}
}

// C-171 … C-175.
func TestCheckLocal(t *testing.T) {
	policy := DefaultPolicyAccount()
	for _, ok := range []string{"a", "alice", "alice.b-c_d+e", "émilie", strings.Repeat("a", 64), strings.Repeat("é", 64)} {
		if err := CheckLocal(policy, ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	bad := []string{"", strings.Repeat("a", 65), "postmaster", "abuse", "admin", "root", "mmm"}
	for _, c := range policy.InvalidCharacters {
		bad = append(bad, "al"+string(c)+"ice")
	}
	for _, local := range bad {
		if err := CheckLocal(policy, local); KindOf(err) != NameInvalid || err == nil {
			t.Errorf("%q: %v", local, err)
		}
	}
	if err := CheckLocal(&PolicyAccount{}, strings.Repeat("<", 100)); err != nil {
		t.Errorf("no policy but reserved names: %v", err)
	}
}

func TestSameUDF(t *testing.T) {
	const a = "MDWA-A3BV-DQ6V-F3MA-L3RW-GITX-JAPX"
	if !SameUDF(a, "mdwaa3bvdq6vf3mal3rwgitxjapx") {
		t.Error("case and dashes count")
	}
	for _, b := range []string{"", a[:29], a[:len(a)-1] + "Y"} {
		if SameUDF(a, b) || SameUDF(b, a) {
			t.Errorf("%q is the same", b)
		}
	}
	for _, short := range []string{"", "MDWA", "MDWA-A3BV-DQ6V-F3MA-L3R"} {
		if SameUDF(short, short) {
			t.Errorf("%q names something", short)
		}
	}
}

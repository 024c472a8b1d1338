package mesh

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mathmesh/meshd/pkg/udf"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Address is an account address local@domain in canonical form (D-11).
type Address struct {
	Local   string // NFC, case folded: for comparison
	Domain  string // lower-case A-labels
	Display string // as written, NFC, domain in Unicode: for people
	SINUDF  string // of the ProfileAccount, when written in the strong form local@mm--<udf>.domain
}

// String is the canonical address local@domain, without the label of the strong form: the text from which the
// partition is computed.
func (a Address) String() string { return a.Local + "@" + a.Domain }

// maxLocal bounds the local part where no policy is known: four times what PolicyAccount allows by default.
const maxLocal = 256

// Octets that are looked at: idna takes quadratic time (seconds for 48 KiB), normalising reserves memory. The longest
// local part has four octets a character, some three times that before it is composed; a domain name has 253 octets, and
// less than four times that with Unicode labels.
const (
	maxLocalText  = 12 * maxLocal
	maxDomainText = 1 << 10
)

// sinPrefix begins the label of a strong address.
const sinPrefix = "mm--"

// domains maps and checks a domain as for looking it up.
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// ParseAddress reads an address and makes it canonical. It checks what holds for every service; what a service
// allows for its own accounts is CheckLocal's. Errors are of kind NameInvalid.
func ParseAddress(s string) (Address, error) {
	a, err := parseAddress(s)
	if err != nil {
		return Address{}, E("mesh.ParseAddress", NameInvalid, err)
	}
	return a, nil
}

func parseAddress(s string) (Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return Address{}, errors.New("no @")
	}
	if at > maxLocalText || len(s)-at > maxDomainText {
		return Address{}, errors.New("too long")
	}
	if !utf8.ValidString(s) {
		return Address{}, errors.New("not UTF-8")
	}
	var a Address
	domain := s[at+1:]
	if label, rest, ok := strings.Cut(domain, "."); ok && len(label) > len(sinPrefix) && strings.EqualFold(label[:len(sinPrefix)], sinPrefix) {
		if a.SINUDF, ok = normalUDF(label[len(sinPrefix):]); !ok {
			return Address{}, errors.New("the strong label is no UDF")
		}
		domain = rest
	}
	var err error
	if a.Domain, err = CanonicalDomain(domain); err != nil {
		return Address{}, err
	}
	display := norm.NFC.String(s[:at])
	if a.Local, err = foldLocal(display); err != nil {
		return Address{}, err
	}
	shown, err := domains.ToUnicode(a.Domain)
	if err != nil {
		shown = a.Domain
	}
	a.Display = display + "@" + shown
	return a, nil
}

// CanonicalDomain returns a domain in lower-case A-labels.
func CanonicalDomain(domain string) (string, error) {
	if len(domain) > maxDomainText {
		return "", errors.New("too long for a domain name")
	}
	ascii, err := domains.ToASCII(domain)
	if err != nil || ascii == "" || strings.HasSuffix(ascii, ".") {
		return "", errors.New("not a domain name")
	}
	return ascii, nil
}

// foldLocal folds a local part and normalises until nothing changes: folding alone can leave a text that is not NFC.
func foldLocal(local string) (string, error) {
	if local == "" || utf8.RuneCountInString(local) > maxLocal {
		return "", errors.New("local part too short or too long")
	}
	for _, r := range local {
		if !visible(r) {
			return "", errors.New("control character or space in the local part")
		}
	}
	fold := cases.Fold()
	for range 4 {
		folded := norm.NFC.String(fold.String(local))
		if folded == local {
			return local, nil
		}
		local = folded
	}
	return "", errors.New("the local part has no canonical form")
}

// visible refuses controls and white space, format characters included: a name that shows like another is no name.
func visible(r rune) bool {
	return !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zs, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs) && r != utf8.RuneError
}

// normalUDF returns a UDF upper-case in groups of four; false when it is none of at least 100 bits (DATA §10).
func normalUDF(text string) (string, bool) {
	const shortest = len("MAAA-AAAA-AAAA-AAAA-AAAA") // 20 characters of 5 bits
	canonical := udf.Canonical(text)
	foreign := func(c rune) bool { return (c < 'A' || c > 'Z') && (c < '2' || c > '7') && c != '-' }
	if len(canonical) < shortest || strings.ContainsFunc(canonical, foreign) {
		return "", false
	}
	return canonical, true
}

// DefaultPolicyAccount is the policy of D-11. Controls and format characters are refused besides: they cannot be shown.
func DefaultPolicyAccount() *PolicyAccount {
	return &PolicyAccount{Minimum: Int(1), Maximum: Int(64), InvalidCharacters: ` "(),:;<>@[\]/%`}
}

// reservedLocals are addresses that people believe to be the provider's.
var reservedLocals = []string{"postmaster", "abuse", "admin", "root", "mmm"}

// CheckLocal says whether a service of this policy gives out the canonical local part; the error is of kind NameInvalid.
func CheckLocal(policy *PolicyAccount, local string) error {
	const op = "mesh.CheckLocal"
	n := int64(utf8.RuneCountInString(local))
	switch {
	case policy.Minimum != nil && n < *policy.Minimum:
		return Errorf(op, NameInvalid, "too short")
	case policy.Maximum != nil && n > *policy.Maximum:
		return Errorf(op, NameInvalid, "too long")
	case strings.ContainsAny(local, policy.InvalidCharacters):
		return Errorf(op, NameInvalid, "a character that is not allowed")
	case slices.Contains(reservedLocals, local):
		return Errorf(op, NameInvalid, "reserved")
	}
	return nil
}

// SameUDF compares two UDFs as identifiers are: without case and dashes (DATA §10).
func SameUDF(a, b string) bool {
	na, ok := normalUDF(a)
	nb, okb := normalUDF(b)
	return ok && okb && na == nb
}

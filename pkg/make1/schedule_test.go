package make1

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// AUTH §3.4: an agreement of zero is refused, whoever holds the key.
func TestAgreementZero(t *testing.T) {
	k := newKey(t).Public()
	for name, result := range map[string][]byte{"zero": make([]byte, uLen), "short": make([]byte, 32), "none": nil} {
		if z, err := agree(func(keys.PublicKey) ([]byte, error) { return result, nil }, k); err == nil || z != nil {
			t.Errorf("%s: %x, %v", name, z, err)
		}
	}
	w := newWorld(t)
	e, p := w.exchange(ok)
	x, err := OpenExchange(e, domain, func(string) (keys.Holder, bool) { return zeroHolder{w.service}, true }, now)
	wantKind(t, err, mesh.NotAuthenticated)
	if x != nil {
		t.Error("es of zero seals")
	}
	// ss of zero at the client, se of zero at the client.
	c := *w.client
	c.Holder = zeroHolder{w.client.Holder}
	if _, _, err := c.Exchange(credential(), []byte(ok), now); err == nil {
		t.Error("ss of zero seals a request")
	}
	answer, err := w.accept(e).Answer([]byte(ok), now, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.client = &c
	a, err := p.Open(answer)
	wantBad(t, a, err)
	// ss of zero at the service.
	x = w.accept(e)
	x.service = zeroHolder{w.service}
	wantKind(t, x.Authenticate(w.c), mesh.NotAuthenticated)
}

// zeroHolder is a device that does not look at what it computes.
type zeroHolder struct{ keys.Holder }

func (zeroHolder) Agree(string, keys.PublicKey) ([]byte, error) { return make([]byte, uLen), nil }

func TestCoordinate(t *testing.T) {
	p := append(bytes.Repeat([]byte{0xff}, uLen/2), 0xfe)
	p = append(p, bytes.Repeat([]byte{0xff}, uLen/2-1)...)
	with := func(i int, b byte) []byte {
		u := bytes.Clone(p)
		u[i] = b
		return u
	}
	for _, test := range []struct {
		name string
		u    []byte
		ok   bool
	}{
		{"p", p, false},
		{"p + 1 (no carry form)", with(uLen/2, 0xff), false},
		{"all ones", bytes.Repeat([]byte{0xff}, uLen), false},
		{"p − 1", with(0, 0xfe), true},
		{"middle octet smaller", with(uLen/2, 0xfd), true},
		{"top octet smaller", with(uLen-1, 0xfe), true},
		{"five", with(uLen-1, 0)[:uLen], true},
	} {
		if _, err := coordinate(keys.PublicKey{Curve: keys.X448, Octets: test.u}); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestSaltTime(t *testing.T) {
	salt := newSalt(now)
	if got := int64(binary.BigEndian.Uint64(salt)); got != now.UnixMilli() || len(salt) != saltLen {
		t.Errorf("Salt of %d octets with time %d", len(salt), got)
	}
}

// The keys are those of the standard library's HKDF, for salts below, at and above a block.
func TestPayloadKeys(t *testing.T) {
	octets := bytes.Repeat([]byte("0123456789abcdefghijklmnopq"), 50)
	for _, k := range []int{0, 1, 12, 31, 32, 63, 64, 65, 127, 128, 129, 1048} {
		master := octets[3 : 3+keyLen]
		key, err := hkdf.Key(sha256.New, master, octets[:k], "encrypt", keyLen)
		if err != nil {
			t.Fatal(err)
		}
		iv, err := hkdf.Key(sha256.New, master, octets[:k], "iv", nonceLen)
		if err != nil {
			t.Fatal(err)
		}
		sealed := newBox(key, iv).seal([]byte("x"))
		if plain, err := payloadBox(master, octets[:k]).open(sealed); err != nil || string(plain) != "x" {
			t.Errorf("Salt of %d octets: %q, %v", k, plain, err)
		}
	}
}

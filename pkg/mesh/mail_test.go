package mesh

import (
	"encoding/hex"
	"testing"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// The values are those of the formulas of DATA §9.8, computed by another program.
func TestPINFormulas(t *testing.T) {
	const pin = "EAML-INHA-2635-5SKT-46SH-XKSL-HAZA"
	for action, want := range map[string][2]string{
		PINDevice:  {"ADZK-5VHR-TCDJ-ONRJ-L6IY-4FXJ-3HAK", "ADUU-P7JZ-XUAO-5Z6Z-BYPN-F42G-5KZP"},
		PINContact: {"ADIA-4VI6-5UVO-UF5I-KQQ6-TA2V-T2DM", "ADCO-Q7FD-JXDT-ZKBD-42OT-6SGE-S6BD"},
	} {
		salted, err := SaltedPIN(pin, action)
		if err != nil || salted != want[0] || PINUDF(salted, "alice@example.com") != want[1] {
			t.Errorf("%s: %s, %s, %v", action, salted, PINUDF(salted, "alice@example.com"), err)
		}
	}
	salted, _ := SaltedPIN(pin, PINContact)
	nonce, digest := make([]byte, 16), make([]byte, 64)
	for i := range nonce {
		nonce[i] = 1
	}
	for i := range digest {
		digest[i] = 2
	}
	const want = "f05684e73477e5cd449328abaaea9cf792b0fd1cd9fa8bf743c34e2788ae53f8f66b5e5b4cbfd0b8b836fdc274508c04362471125fa7cb64630de863ec7a6d40"
	if got := hex.EncodeToString(PINWitness(salted, "alice@example.com", nonce, digest)); got != want {
		t.Errorf("witness %s", got)
	}
	for _, bad := range []string{"", "MAML-INHA-2635-5SKT-46SH-XKSL-HAZA", "?"} {
		if _, err := SaltedPIN(bad, PINContact); KindOf(err) != BadRequest {
			t.Errorf("%q is a PIN: %v", bad, err)
		}
	}
}

// Every type comes back as what it is, one of a later version as its base.
func TestMail(t *testing.T) {
	for _, tag := range []string{
		TagMessageError, TagMessageComplete, TagMessagePIN, TagRequestConnection, TagAcknowledgeConnection, TagRespondConnection,
		TagRequestContact, TagReplyContact, TagGroupInvitation, TagRequestConfirmation, TagResponseConfirmation, TagRequestTask,
		TagMessageText, TagMessageClaim, TagMessageReport,
	} {
		m := NewMail(tag)
		if m == nil || m.Tag() != tag {
			t.Errorf("%s is not known by its tag", tag)
			continue
		}
		m.Base().MessageID = "NABC"
		payload, err := EncodeMail(m)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeMail(payload)
		if err != nil || back.Tag() != tag || back.Base().MessageID != "NABC" {
			t.Errorf("%s: %v", tag, err)
		}
	}
	later, err := DecodeMail([]byte(`{"MessageHologram":{"MessageID":"NABC","Depth":3}}`))
	if err != nil || later.Tag() != "MessageHologram" || later.Base().MessageID != "NABC" {
		t.Errorf("a later type: %v, %v", later, err)
	}
	for _, bad := range []string{"", "{}", `{"MessageText":[]}`, `{"MessageText":{"Text":1}}`, `{"A":{},"B":{}}`} {
		if _, err := DecodeMail([]byte(bad)); KindOf(err) != MessageInvalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// FuzzDecodeMail: whatever is decoded is written and read again as the same.
func FuzzDecodeMail(f *testing.F) {
	f.Add([]byte(`{"MessageText":{"MessageID":"N","Text":"x","References":[{"MessageID":"N","Relationship":"Read"}]}}`))
	f.Add([]byte(`{"ReplyContact":{"AuthenticatedData":[{},""],"PinUDF":"A"}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		m, err := DecodeMail(payload)
		if err != nil {
			return
		}
		if _, unknown := m.(*UnknownMail); unknown {
			return
		}
		again, err := EncodeMail(m)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeMail(again)
		if err != nil {
			t.Fatalf("%s does not come back: %v", again, err)
		}
		third, err := jbcd.Tag(back.Tag(), back)
		if err != nil || string(third) != string(again) {
			t.Errorf("%s became %s", again, third)
		}
	})
}

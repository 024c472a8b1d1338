package mesh

import (
	"errors"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/udf"
)

// Mail is a message of DATA §6: a pointer to one of the structures.
type Mail interface {
	Base() *Message
	Tag() string
}

// Base is the message itself.
func (m *Message) Base() *Message { return m }

// Tag implements Mail.
func (*MessageError) Tag() string { return TagMessageError }

// Tag implements Mail.
func (*MessageComplete) Tag() string { return TagMessageComplete }

// Tag implements Mail.
func (*MessagePIN) Tag() string { return TagMessagePIN }

// Tag implements Mail.
func (*RequestConnection) Tag() string { return TagRequestConnection }

// Tag implements Mail.
func (*AcknowledgeConnection) Tag() string { return TagAcknowledgeConnection }

// Tag implements Mail.
func (*RespondConnection) Tag() string { return TagRespondConnection }

// Tag implements Mail.
func (*RequestContact) Tag() string { return TagRequestContact }

// Tag implements Mail.
func (*ReplyContact) Tag() string { return TagReplyContact }

// Tag implements Mail.
func (*GroupInvitation) Tag() string { return TagGroupInvitation }

// Tag implements Mail.
func (*RequestConfirmation) Tag() string { return TagRequestConfirmation }

// Tag implements Mail.
func (*ResponseConfirmation) Tag() string { return TagResponseConfirmation }

// Tag implements Mail.
func (*RequestTask) Tag() string { return TagRequestTask }

// Tag implements Mail.
func (*MessageText) Tag() string { return TagMessageText }

// Tag implements Mail.
func (*MessageClaim) Tag() string { return TagMessageClaim }

// Tag implements Mail.
func (*MessageReport) Tag() string { return TagMessageReport }

// NewMail returns an empty structure for a tag, nil for one that is not known.
func NewMail(tag string) Mail {
	switch tag {
	case TagMessageError:
		return new(MessageError)
	case TagMessageComplete:
		return new(MessageComplete)
	case TagMessagePIN:
		return new(MessagePIN)
	case TagRequestConnection:
		return new(RequestConnection)
	case TagAcknowledgeConnection:
		return new(AcknowledgeConnection)
	case TagRespondConnection:
		return new(RespondConnection)
	case TagRequestContact:
		return new(RequestContact)
	case TagReplyContact:
		return new(ReplyContact)
	case TagGroupInvitation:
		return new(GroupInvitation)
	case TagRequestConfirmation:
		return new(RequestConfirmation)
	case TagResponseConfirmation:
		return new(ResponseConfirmation)
	case TagRequestTask:
		return new(RequestTask)
	case TagMessageText:
		return new(MessageText)
	case TagMessageClaim:
		return new(MessageClaim)
	case TagMessageReport:
		return new(MessageReport)
	}
	return nil
}

// EncodeMail writes the payload of a message.
func EncodeMail(m Mail) ([]byte, error) { return jbcd.Tag(m.Tag(), m) }

// DecodeMail reads the payload of a message. One of a type that is not known comes out as its base, *UnknownMail. Errors are of
// kind MessageInvalid.
func DecodeMail(payload []byte) (Mail, error) {
	const op = "mesh.DecodeMail"
	if len(payload) > MaxMessage {
		return nil, E(op, MessageInvalid, errors.New("too long"))
	}
	tag, body, err := jbcd.Tagged(payload)
	if err != nil {
		return nil, E(op, MessageInvalid, err)
	}
	m := NewMail(tag)
	if m == nil {
		m = &UnknownMail{tag: tag}
	}
	if err := jbcd.Unmarshal(body, m); err != nil {
		return nil, E(op, MessageInvalid, err)
	}
	return m, nil
}

// UnknownMail is a message of a type that this build does not know.
type UnknownMail struct {
	Message
	tag string
}

// Tag implements Mail.
func (m *UnknownMail) Tag() string { return m.tag }

// Actions of a PIN.
const (
	PINDevice  = "Device"
	PINContact = "Contact"
)

// SaltedPIN is what one's own devices keep of a PIN, an E-type UDF, for an action (DATA §9.8).
func SaltedPIN(pin, action string) (string, error) {
	secret, err := udf.Secret(pin)
	if err != nil {
		return "", E("mesh.SaltedPIN", BadRequest, errors.New("the PIN is none"))
	}
	return udf.Encode(udf.MAC(secret, []byte(action)), udf.Bits), nil
}

// PINUDF names a PIN of an account without telling it: the MessageID of its MessagePIN (DATA §9.8).
func PINUDF(salted, account string) string {
	return udf.Encode(udf.MAC([]byte(salted), []byte(account)), udf.Bits)
}

// PINWitness proves knowledge of a PIN of account to who issued it, over the payload digest of what it vouches for (DATA §9.8).
func PINWitness(salted, account string, nonce, digest []byte) []byte {
	return udf.MAC([]byte(salted), []byte(account), nonce, digest)[1:]
}

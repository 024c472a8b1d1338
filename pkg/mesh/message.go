package mesh

import (
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
)

// Tags of messages (DATA §6).
const (
	TagMessageError          = "MessageError"
	TagMessageComplete       = "MessageComplete"
	TagMessagePIN            = "MessagePIN"
	TagRequestConnection     = "RequestConnection"
	TagAcknowledgeConnection = "AcknowledgeConnection"
	TagRespondConnection     = "RespondConnection"
	TagRequestContact        = "RequestContact"
	TagReplyContact          = "ReplyContact"
	TagGroupInvitation       = "GroupInvitation"
	TagRequestConfirmation   = "RequestConfirmation"
	TagResponseConfirmation  = "ResponseConfirmation"
	TagRequestTask           = "RequestTask"
	TagMessageText           = "MessageText"
	TagMessageClaim          = "MessageClaim"
	TagMessageReport         = "MessageReport" // extension
)

// Message is the base of messages.
type Message struct {
	MessageID  string      `json:"MessageID,omitempty"`
	Sender     string      `json:"Sender,omitempty"`
	Recipient  string      `json:"Recipient,omitempty"`
	References []Reference `json:"References,omitempty"`
}

// Reference says how a message relates to another.
type Reference struct {
	MessageID    string `json:"MessageID,omitempty"`
	ResponseID   string `json:"ResponseID,omitempty"`
	Relationship string `json:"Relationship,omitempty"` // Open, Closed, Read, Unread, Accept, Reject, Sent, Received, Failed, Deleted
}

// MessageError reports a failure.
type MessageError struct {
	Message
	ErrorCode string `json:"ErrorCode,omitempty"`
}

// MessageComplete changes the status of the messages in References.
type MessageComplete struct{ Message }

// MessagePINValidated is the base of messages that prove knowledge of a PIN (MessagePinValidated).
type MessagePINValidated struct {
	Message
	AuthenticatedData *dare.Envelope `json:"AuthenticatedData,omitempty"`
	ClientNonce       jbcd.Binary    `json:"ClientNonce,omitempty"`
	PINUDF            string         `json:"PinUDF,omitempty"`
	PINWitness        jbcd.Binary    `json:"PinWitness,omitempty"`
}

// MessagePIN tells one's own devices of a PIN.
type MessagePIN struct {
	Message
	Account   string     `json:"Account,omitempty"`
	Expires   *jbcd.Time `json:"Expires,omitempty"`
	Automatic *bool      `json:"Automatic,omitempty"`
	SaltedPIN string     `json:"SaltedPIN,omitempty"`
	Action    string     `json:"Action,omitempty"` // Device, Contact
	Rights    []string   `json:"Rights,omitempty"` // extension: Action Contact, what who proves the PIN is granted
}

// RequestConnection asks to connect a device to an account.
type RequestConnection struct {
	MessagePINValidated
	AccountAddress string `json:"AccountAddress,omitempty"`
}

// AcknowledgeConnection is the service's record of a RequestConnection.
type AcknowledgeConnection struct {
	Message
	EnvelopedRequestConnection *dare.Envelope `json:"EnvelopedRequestConnection,omitempty"`
	ServerNonce                jbcd.Binary    `json:"ServerNonce,omitempty"`
	Witness                    string         `json:"Witness,omitempty"`
}

// RespondConnection answers a RequestConnection; CatalogedDevice is there exactly when the Result is Accept.
type RespondConnection struct {
	Message
	Result          string           `json:"Result,omitempty"` // Accept, Reject, Pending, Expired
	CatalogedDevice *CatalogedDevice `json:"CatalogedDevice,omitempty"`
}

// RequestContact offers one's contact.
type RequestContact struct {
	Message
	Reply   *bool          `json:"Reply,omitempty"`
	Subject string         `json:"Subject,omitempty"`
	PIN     string         `json:"PIN,omitempty"`
	Self    *dare.Envelope `json:"Self,omitempty"`
}

// ReplyContact answers a RequestContact.
type ReplyContact struct {
	MessagePINValidated
	Subject string `json:"Subject,omitempty"`
}

// GroupInvitation invites to a group.
type GroupInvitation struct {
	Message
	Text    string `json:"Text,omitempty"`
	Contact Tagged `json:"Contact,omitempty"`
}

// RequestConfirmation asks a question.
type RequestConfirmation struct {
	Message
	Text string `json:"Text,omitempty"`
}

// ResponseConfirmation answers it.
type ResponseConfirmation struct {
	Message
	Request *dare.Envelope `json:"Request,omitempty"`
	Accept  *bool          `json:"Accept,omitempty"`
}

// RequestTask asks for a task.
type RequestTask struct{ Message }

// MessageText is a text with attachments (extension D-58).
type MessageText struct {
	Message
	Subject     string       `json:"Subject,omitempty"`
	Text        string       `json:"Text,omitempty"`
	Attachments []Attachment `json:"Attachments,omitempty"`
}

// Attachment locates published data.
type Attachment struct {
	Locator  string      `json:"Locator,omitempty"`
	Account  string      `json:"Account,omitempty"`
	Length   *int64      `json:"Length,omitempty"`
	Digest   jbcd.Binary `json:"Digest,omitempty"` // SHA-2-512 of the published octets
	Filename string      `json:"Filename,omitempty"`
	CTY      string      `json:"cty,omitempty"`
}

// MessageClaim claims a publication.
type MessageClaim struct {
	Message
	PublicationID       string     `json:"PublicationId,omitempty"`
	ServiceAuthenticate string     `json:"ServiceAuthenticate,omitempty"`
	DeviceAuthenticate  string     `json:"DeviceAuthenticate,omitempty"`
	Expires             *jbcd.Time `json:"Expires,omitempty"`
}

// MessageReport reports a message to abuse@ its sender's domain (extension).
type MessageReport struct {
	Message
	Reported *dare.Envelope `json:"Reported,omitempty"` // as it was received; without payload when it would not fit
	Text     string         `json:"Text,omitempty"`
}

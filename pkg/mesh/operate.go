package mesh

import (
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

// The structures inside Operate (PROTOCOL §4.5). They stand in OperateRequest and OperateResponse under their own
// names as tags; the variable-type members come from the schema file of the reference (D-36).

// CryptographicOperation is the base of the operations.
type CryptographicOperation struct {
	KeyID          string      `json:"KeyId,omitempty"`
	KeyCoefficient jbcd.Binary `json:"KeyCoefficient,omitempty"` // scalar, little-endian; absent = 1
}

// CryptographicOperationSign asks for a contribution to a threshold signature.
type CryptographicOperationSign struct {
	CryptographicOperation
	Data     jbcd.Binary `json:"Data,omitempty"`
	PartialR jbcd.Binary `json:"PartialR,omitempty"`
}

// CryptographicOperationKeyAgreement asks for a contribution to a key agreement.
type CryptographicOperationKeyAgreement struct {
	CryptographicOperation
	PublicKey *keys.PublicKey `json:"PublicKey,omitempty"`
}

// CryptographicOperationGenerate asks for a new key contribution.
type CryptographicOperationGenerate struct{ CryptographicOperation }

// CryptographicOperationShare asks to split a contribution.
type CryptographicOperationShare struct {
	CryptographicOperation
	Threshold *int64 `json:"Threshold,omitempty"`
	Shares    *int64 `json:"Shares,omitempty"`
}

// CryptographicResult is the base of the results, and by itself a failure.
type CryptographicResult struct {
	Error string `json:"Error,omitempty"` // NotFound, NotAuthorized, InvalidKey, Quota, Unsupported
}

// CryptographicResultSign holds PartialR (first call) or PartialS (second call).
type CryptographicResultSign struct {
	CryptographicResult
	PartialR jbcd.Binary `json:"PartialR,omitempty"`
	PartialS jbcd.Binary `json:"PartialS,omitempty"`
}

// CryptographicResultKeyAgreement holds a KeyAgreementECDH.
type CryptographicResultKeyAgreement struct {
	CryptographicResult
	KeyAgreement Tagged `json:"KeyAgreement,omitempty"`
}

// KeyAgreementECDH is a shared point as on the wire: X448 57 octets with the sign octet.
type KeyAgreementECDH struct {
	Curve  string      `json:"Curve,omitempty"`
	Result jbcd.Binary `json:"Result,omitempty"`
}

// CryptographicResultGenerate names the new contribution.
type CryptographicResultGenerate struct {
	CryptographicResult
	KeyID     string          `json:"KeyId,omitempty"`
	PublicKey *keys.PublicKey `json:"PublicKey,omitempty"`
}

// CryptographicResultShare holds the shares, each sealed to a member's key.
type CryptographicResultShare struct {
	CryptographicResult
	KeyShares []*dare.Envelope `json:"KeyShares,omitempty"`
}

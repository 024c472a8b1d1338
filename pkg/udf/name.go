package udf

import (
	"net/url"
	"strings"
)

// sinPrefix begins the DNS label of a strong internet name.
const sinPrefix = "mm--"

// SINLabel is the DNS label that pins a fingerprint in a strong internet name: alice@mm--maxz-….example.com.
func SINLabel(fingerprint string) string { return sinPrefix + strings.ToLower(fingerprint) }

// ParseSINLabel returns the fingerprint, in upper case, of a label that is one.
func ParseSINLabel(label string) (fingerprint string, ok bool) {
	if len(label) < len(sinPrefix) || !strings.EqualFold(label[:len(sinPrefix)], sinPrefix) {
		return "", false
	}
	fingerprint = strings.ToUpper(label[len(sinPrefix):])
	octets, err := Decode(fingerprint)
	// A DNS label has 63 octets; below 100 bits (DATA §10) a name pins nothing.
	if err != nil || len(label) > 63 || len(octets)*8 < 100 {
		return "", false
	}
	return fingerprint, true
}

// EARL is an Encrypted Authenticated Resource Locator: udf://<domain>/<E-UDF>. Its key is a secret.
type EARL struct {
	Domain string
	Key    string // E-type UDF with its dashes: the text itself is digested
}

// ParseEARL reads the udf: URI.
func ParseEARL(uri string) (EARL, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "udf" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return EARL{}, errText
	}
	key := strings.TrimPrefix(u.Path, "/")
	if _, err := Secret(key); err != nil {
		return EARL{}, err
	}
	return EARL{Domain: u.Host, Key: key}, nil
}

// String is the udf: URI, the secret included.
func (e EARL) String() string { return "udf://" + e.Domain + "/" + e.Key }

// ContentID is the public name of the resource: a content digest of the key's text at 280 bits.
func (e EARL) ContentID() string {
	return Encode(Content(encryptionContent, []byte(e.Key)), LongBits)
}

// URL is where the encrypted resource is fetched.
func (e EARL) URL() string { return "https://" + e.Domain + "/.well-known/mmm-udf/" + e.ContentID() }

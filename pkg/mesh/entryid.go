package mesh

import (
	"crypto/hkdf"
	"crypto/sha512"

	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

// entryIDBits is the length of an entry identifier; that of an EnvelopeID, for it is one.
const entryIDBits = 280

// EntryID is the UniqueID and EnvelopeID of the entry with that primary key in a catalog (D-48, DATA §9.12). Containers
// that the service reads use the primary key itself, the others a keyed UDF of it, so that the provider does not read
// site names. encryption is the account encryption key.
func EntryID(encryption *keys.PrivateKey, container, primaryKey string) (string, error) {
	if ServiceReadable(container) {
		return primaryKey, nil
	}
	k, err := hkdf.Key(sha512.New, encryption.Scalar(), nil, "mmm-entry-id"+container, sha512.Size)
	if err != nil {
		return "", E("mesh.EntryID", Internal, err)
	}
	return udf.Encode(udf.MAC(k, []byte(primaryKey)), entryIDBits), nil
}

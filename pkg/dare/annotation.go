package dare

import (
	"errors"
	"fmt"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

// Annotations decrypts the header's Annotations: encoded data sequences of JSON-B data items, salt prefix, body and
// perhaps an authentication tag, which is empty and which the reference leaves out of encrypted ones. The key is
// that of the payload with the salt prefix ‖ Salt. We read them and write none.
func (e *Envelope) Annotations(h keys.Holder) ([][]byte, error) {
	hdr, err := e.ParseHeader()
	if err != nil || len(hdr.Annotations) == 0 {
		return nil, err
	}
	var mk []byte
	if hdr.encrypted() {
		if mk, err = hdr.masterKey(h); err != nil {
			return nil, err
		}
	}
	out := make([][]byte, len(hdr.Annotations))
	for i, a := range hdr.Annotations {
		prefix, body, err := splitAnnotation(a)
		if err != nil {
			return nil, fmt.Errorf("%w: annotation %d: %w", ErrMalformed, i, err)
		}
		if mk != nil {
			own := Header{Enc: hdr.Enc, Salt: append(prefix, hdr.Salt...)}
			if body, _, err = own.open(body, mk); err != nil {
				return nil, fmt.Errorf("annotation %d: %w", i, err)
			}
		}
		out[i] = body
	}
	return out, nil
}

func splitAnnotation(a jbcd.Binary) (prefix, body []byte, err error) {
	var items [][]byte
	for rest := []byte(a); len(rest) > 0; {
		n, length, err := readHead(rest, tagData)
		if err != nil {
			return nil, nil, err
		}
		if length > uint64(len(rest)-n) {
			return nil, nil, errShort
		}
		end := n + int(length)
		items = append(items, rest[n:end:end])
		rest = rest[end:]
	}
	if len(items) == 3 && len(items[2]) == 0 {
		items = items[:2]
	}
	if len(items) != 2 {
		return nil, nil, errors.New("want salt, body and an empty tag")
	}
	return items[0], items[1], nil
}

package dare

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
)

// wrapIV is the integrity check value of RFC 3394 §2.2.3.1.
const wrapIV = 0xA6A6A6A6A6A6A6A6

// wrap is the AES key wrap of RFC 3394: key, of n·8 octets, n ≥ 2, becomes (n+1)·8 octets.
func wrap(kek, key []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	if len(key) < 16 || len(key)%8 != 0 {
		return nil, ErrMalformed
	}
	n := len(key) / 8
	out := make([]byte, 8+len(key))
	copy(out[8:], key)
	var b [16]byte
	a := uint64(wrapIV)
	for t := uint64(1); t <= uint64(6*n); t++ {
		r := out[8*((t-1)%uint64(n)+1):]
		binary.BigEndian.PutUint64(b[:8], a)
		copy(b[8:], r[:8])
		block.Encrypt(b[:], b[:])
		a = binary.BigEndian.Uint64(b[:8]) ^ t
		copy(r, b[8:])
	}
	binary.BigEndian.PutUint64(out, a)
	return out, nil
}

// unwrap is its inverse; ErrOpen when the integrity check fails.
func unwrap(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	if len(wrapped) < 24 || len(wrapped)%8 != 0 {
		return nil, ErrOpen
	}
	n := len(wrapped)/8 - 1
	out := append([]byte(nil), wrapped[8:]...)
	var b [16]byte
	a := binary.BigEndian.Uint64(wrapped)
	for t := uint64(6 * n); t >= 1; t-- {
		r := out[8*((t-1)%uint64(n)):]
		binary.BigEndian.PutUint64(b[:8], a^t)
		copy(b[8:], r[:8])
		block.Decrypt(b[:], b[:])
		a = binary.BigEndian.Uint64(b[:8])
		copy(r, b[8:])
	}
	var got, want [8]byte
	binary.BigEndian.PutUint64(got[:], a)
	binary.BigEndian.PutUint64(want[:], wrapIV)
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return nil, ErrOpen
	}
	return out, nil
}

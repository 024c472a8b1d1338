package udf

import "math/big"

// Shares makes the shares of a polynomial given by a vector.
func Shares(polynomial []*big.Int, length, n int) ([]string, bool) {
	return evaluate(polynomial, sharePrime(length), length, n)
}

// Compression is compression.
func Compression(digest []byte) byte { return compression(digest) }

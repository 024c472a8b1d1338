package udf

import (
	"crypto/rand"
	"errors"
	"math/big"
)

// maxShares is what the octet of an S-type UDF has room for: four bits of threshold, four of index.
const maxShares = 15

// errShares is the one error of Combine: shares are secret.
var errShares = errors.New("udf: the shares do not make a secret")

// Split makes n shares of a secret, threshold of which recover it (S-type UDFs; Shamir's scheme over the smallest
// prime above 2^L, L the bits of the secret rounded up to a multiple of 32). The secret has 16 to 64 octets, a
// multiple of 4: the values of a larger field hardly ever fit its length. 2 ≤ threshold ≤ n ≤ 15.
func Split(secret []byte, n, threshold int) ([]string, error) {
	if len(secret) < 16 || len(secret) > 64 || len(secret)%4 != 0 || threshold < 2 || threshold > n || n > maxShares {
		return nil, errors.New("udf: cannot be split so")
	}
	p := sharePrime(len(secret))
	polynomial := []*big.Int{new(big.Int).SetBytes(secret)}
	for len(polynomial) < threshold {
		polynomial = append(polynomial, nil)
	}
	for {
		for i := 1; i < threshold; i++ {
			c, err := rand.Int(rand.Reader, p)
			if err != nil {
				return nil, err
			}
			polynomial[i] = c
		}
		// A share's value may be just above 2^L or need more octets than the secret has: another polynomial.
		if shares, ok := evaluate(polynomial, p, len(secret), n); ok {
			return shares, nil
		}
	}
}

// evaluate makes the shares 1 to n; false when a value does not fit the length.
func evaluate(polynomial []*big.Int, p *big.Int, length, n int) ([]string, bool) {
	shares := make([]string, n)
	for k := 1; k <= n; k++ {
		x, y := big.NewInt(int64(k)), new(big.Int)
		for i := len(polynomial) - 1; i >= 0; i-- {
			y.Mul(y, x).Add(y, polynomial[i]).Mod(y, p)
		}
		if y.BitLen() > length*8 {
			return nil, false
		}
		octets := make([]byte, 2+length)
		octets[0], octets[1] = TypeShare, byte(len(polynomial)<<4|(k-1))
		y.FillBytes(octets[2:])
		shares[k-1] = Encode(octets, 0)
	}
	return shares, true
}

// Combine recovers the secret of at least threshold shares. Any subset of a wrong set gives a wrong secret without
// an error: what was recovered is checked by what it is for.
func Combine(shares []string) ([]byte, error) {
	var xs, ys []*big.Int
	var threshold, length int
	seen := [maxShares + 1]bool{}
	for i, text := range shares {
		octets, err := decodeType(text, TypeShare)
		if err != nil {
			return nil, errShares
		}
		k, y := int(octets[0]&0x0f), octets[1:]
		if i == 0 {
			threshold, length = int(octets[0]>>4), len(y)
		}
		if int(octets[0]>>4) != threshold || len(y) != length || seen[k] {
			return nil, errShares
		}
		seen[k] = true
		xs, ys = append(xs, big.NewInt(int64(k+1))), append(ys, new(big.Int).SetBytes(y))
	}
	if threshold < 2 || len(shares) < threshold || length < 1 || length > 64 {
		return nil, errShares
	}
	p := sharePrime(length)
	sum := new(big.Int)
	for i := range threshold {
		num, den := big.NewInt(1), big.NewInt(1)
		for j := range threshold {
			if j != i {
				num.Mul(num, xs[j]).Mod(num, p)
				den.Mul(den, new(big.Int).Sub(xs[j], xs[i])).Mod(den, p)
			}
		}
		num.Mul(num, den.ModInverse(den, p)).Mul(num, ys[i])
		sum.Add(sum, num).Mod(sum, p)
	}
	if sum.BitLen() > length*8 {
		return nil, errShares
	}
	return sum.FillBytes(make([]byte, length)), nil
}

// sharePrime is the smallest prime above 2^L for a secret of so many octets.
func sharePrime(octets int) *big.Int {
	p := new(big.Int).Lsh(big.NewInt(1), uint(octets+3)/4*32)
	p.SetBit(p, 0, 1)
	for two := big.NewInt(2); !p.ProbablyPrime(20); {
		p.Add(p, two)
	}
	return p
}

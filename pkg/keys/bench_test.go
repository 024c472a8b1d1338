package keys_test

import (
	"testing"
	"time"

	"github.com/cloudflare/circl/dh/x448"
	"github.com/cloudflare/circl/sign/ed448"

	"github.com/mathmesh/meshd/pkg/keys"
)

// The benchmarks time ours, then the stock implementation in the same run, and report ours/stock; at most 1.2 is
// asked. What is signed is 64 octets, as always in the Mesh.

func ratio(b *testing.B, ours, stock func()) {
	b.Helper()
	for b.Loop() {
		ours()
	}
	mine := b.Elapsed()
	b.StopTimer()
	start := time.Now()
	for range b.N {
		stock()
	}
	b.ReportMetric(mine.Seconds()/time.Since(start).Seconds(), "ours/stock")
}

func BenchmarkSignEd448(b *testing.B) {
	message := make([]byte, 64)
	seed := append(secret(keys.Ed448, 1), 0)
	ours, stock := secretKey(b, keys.Ed448, seed), ed448.NewKeyFromSeed(seed)
	ratio(b, func() {
		if _, err := ours.Sign(message); err != nil {
			b.Fatal(err)
		}
	}, func() { ed448.Sign(stock, message, "") })
}

func BenchmarkVerifyEd448(b *testing.B) {
	message := make([]byte, 64)
	k := secretKey(b, keys.Ed448, secret(keys.Ed448, 1))
	public := k.Public()
	signature, err := k.Sign(message)
	if err != nil {
		b.Fatal(err)
	}
	ratio(b, func() {
		if err := public.Verify(message, signature); err != nil {
			b.Fatal(err)
		}
	}, func() { ed448.Verify(public.Octets, message, signature, "") })
}

func BenchmarkAgreeX448(b *testing.B) {
	k, peer := secretKey(b, keys.X448, secret(keys.X448, 1)), secretKey(b, keys.X448, secret(keys.X448, 2)).Public()
	var shared, private, public x448.Key
	copy(private[:], secret(keys.X448, 1))
	copy(public[:], peer.Octets)
	ratio(b, func() {
		if _, err := k.Agree(peer); err != nil {
			b.Fatal(err)
		}
	}, func() { x448.Shared(&shared, &private, &public) })
}

func BenchmarkReadX448(b *testing.B) {
	octets := secretKey(b, keys.X448, secret(keys.X448, 1)).Public().Octets
	for b.Loop() {
		if _, err := keys.NewPublicKey(keys.X448, octets); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkActivateX448(b *testing.B) {
	base, activation := secretKey(b, keys.X448, secret(keys.X448, 1)).Public(), secretKey(b, keys.X448, secret(keys.X448, 2)).Public()
	for b.Loop() {
		if _, err := base.Add(activation); err != nil {
			b.Fatal(err)
		}
	}
}

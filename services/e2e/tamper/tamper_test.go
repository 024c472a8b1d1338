package tamper

import (
	"encoding/base64"
	"testing"
)

// A word is found at each alignment, and not where it is not.
func TestContainsEncoded(t *testing.T) {
	const word = "portal.corp.example"
	for _, before := range []string{"", "a", "ab", "abc", "abcd"} {
		text := base64.RawURLEncoding.EncodeToString([]byte(before + word + " after"))
		if !containsEncoded([]byte(text), word) {
			t.Errorf("not found after %q", before)
		}
	}
	if containsEncoded([]byte(base64.RawURLEncoding.EncodeToString([]byte("portal.other.example"))), word) {
		t.Error("found where it is not")
	}
}

package mesh

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The registry of PROTOCOL §5: every kind has a name and a code, and a client reads the code back as a kind.
func TestKinds(t *testing.T) {
	extended := map[int]Kind{}
	for _, k := range Kinds() {
		c := k.Code()
		if strings.HasPrefix(k.String(), "Kind(") || c.Status == 0 {
			t.Errorf("kind %d has no entry in the registry", k)
		}
		got := KindOfCode(c)
		switch k {
		case WrongShard: // between roles only
			if got != Overloaded {
				t.Errorf("WrongShard reaches a client as %v", got)
			}
		default:
			if got != k {
				t.Errorf("%v is read back as %v", k, got)
			}
		}
		if c.Extended != 0 {
			extended[c.Extended] = k
		}
	}
	for n := 1; n <= 35; n++ {
		if _, ok := extended[n]; !ok {
			t.Errorf("no kind for extended code %d", n)
		}
	}
	if got := KindOfCode(Code{400, 1}); got != AccountRegistered { // as the reference answers (D-05)
		t.Errorf("400/1 is %v", got)
	}
	if got := KindOfCode(Code{307, 20}); got != Redirect {
		t.Errorf("307/20 is %v", got)
	}
	for _, c := range []Code{{500, 0}, {418, 0}, {400, 99}} {
		if got := KindOfCode(c); got != Internal {
			t.Errorf("%v is %v", c, got)
		}
	}
}

func TestKindOf(t *testing.T) {
	inner := E("store.Get", Internal, errors.New("SQLSTATE 42"))
	outer := fmt.Errorf("wrapped: %w", E("shard.Upload", Conflict, inner))
	if KindOf(outer) != Conflict {
		t.Errorf("the outermost kind counts, have %v", KindOf(outer))
	}
	if !errors.Is(outer, inner) {
		t.Error("the chain is broken")
	}
	if KindOf(errors.New("x")) != Internal || KindOf(nil) != Internal {
		t.Error("an unknown error is internal")
	}
	if want := "shard.Upload: MeshConflict: store.Get: MeshServiceError: SQLSTATE 42"; errors.Unwrap(outer).Error() != want {
		t.Errorf("%q", errors.Unwrap(outer))
	}
}

// What a client is told holds no inner text, but for the target of a redirect (PROTOCOL §7).
func TestFailure(t *testing.T) {
	r := Failure(fmt.Errorf("op: %w", Errorf("shard.Create", AccountRegistered, "alice@example.com")), []byte{1})
	if r.Status != 409 || r.StatusExtended != 1 || r.StatusDescription != "MeshAccountAlreadyRegistered" || string(r.ID) != "\x01" {
		t.Errorf("%+v", r)
	}
	if r := Failure(errors.New("SQLSTATE"), nil); r.Status != 500 || r.StatusExtended != 0 || r.StatusDescription != "MeshServiceError" {
		t.Errorf("%+v", r)
	}
	if r := Failure(Errorf("shard.Status", Redirect, "alice@example.net"), nil); r.Status != 303 || r.StatusDescription != "alice@example.net" {
		t.Errorf("%+v", r)
	}
}

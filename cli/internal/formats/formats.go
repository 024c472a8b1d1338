// Package formats reads and writes what other programs export: logins as Bitwarden JSON, contacts as vCard 3 and 4,
// bookmarks as the Netscape HTML of every browser. Parsing is left to well-kept parsers; this package only translates
// to and from catalog entries, and loses nothing on the way import, export, import.
//
// A reader never fails for one bad item: it skips it and says why. It fails when the file is not of the format.
package formats

import (
	"fmt"
	"time"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// Skipped is an item of an import that was not taken, or a part of one that an entry has no place for.
type Skipped struct {
	Item   string // as a person would find it in the file
	Reason string
}

func skip(item, reason string, args ...any) Skipped {
	return Skipped{Item: item, Reason: fmt.Sprintf(reason, args...)}
}

// stamp makes an entry's time of t; whole seconds (PROTOCOL D-45).
func stamp(t time.Time) *jbcd.Time {
	if t.IsZero() {
		return nil
	}
	return &jbcd.Time{Time: t.UTC().Truncate(time.Second)}
}

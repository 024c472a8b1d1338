package formats

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mathmesh/meshd/pkg/mesh"
)

func sample(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Import → export → import gives the same entries: TOTP, notes, several URIs, folders, custom fields, history.
func TestBitwardenIsLossless(t *testing.T) {
	first, skipped, err := ReadBitwarden(sample(t, "bitwarden.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(first) < 500 {
		t.Errorf("%d logins, want at least 500", len(first))
	}
	var reasons []string
	for _, s := range skipped {
		reasons = append(reasons, s.Item+": "+s.Reason)
	}
	want := []string{"Old forum: it is in the trash", "Visa: it is a card, not a login", "Wi-Fi at the cabin: it is a secure note, not a login"}
	slices.Sort(reasons)
	if d := cmp.Diff(want, reasons); d != "" {
		t.Error("skipped:", d)
	}
	exported, err := WriteBitwarden(first)
	if err != nil {
		t.Fatal(err)
	}
	second, skipped, err := ReadBitwarden(exported)
	if err != nil || len(skipped) != 0 {
		t.Fatal(err, skipped)
	}
	sortLabels := cmpopts.SortSlices(func(a, b string) bool { return a < b })
	if d := cmp.Diff(first, second, sortLabels, cmpopts.EquateEmpty()); d != "" {
		t.Error("second import differs:", d)
	}
	again, err := WriteBitwarden(second)
	if err != nil || !bytes.Equal(exported, again) {
		t.Error("the second export differs from the first", err)
	}
	have := map[string]int{}
	for _, c := range first {
		for name, there := range map[string]bool{
			"totp": c.TOTP != "", "notes": c.Notes != "", "uris": len(c.URIs) > 1, "folder": c.Folder != "", "fields": len(c.Fields) > 0,
			"history": len(c.PreviousPasswords) > 0, "labels": len(c.Labels) > 0,
		} {
			if there {
				have[name]++
			}
		}
	}
	for _, name := range []string{"totp", "notes", "uris", "folder", "fields", "history", "labels"} {
		if have[name] < 50 {
			t.Errorf("the sample has only %d logins with %s: the test shows little", have[name], name)
		}
	}
}

// Two logins of one site and user keep different primary keys.
func TestBitwardenKeysAreUnique(t *testing.T) {
	entries, _, err := ReadBitwarden(sample(t, "bitwarden.json"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	portal := 0
	for _, c := range entries {
		if seen[c.PrimaryKey()] {
			t.Errorf("key %q twice", c.PrimaryKey())
		}
		seen[c.PrimaryKey()] = true
		if c.Service == "portal.corp.example" {
			portal++
		}
	}
	if portal < 5 || !seen["http:portal.corp.example:anna:2"] {
		t.Errorf("%d logins of the portal, keys %v", portal, seen["http:portal.corp.example:anna:2"])
	}
}

func TestReadersRefuseOtherFiles(t *testing.T) {
	for name, c := range map[string]struct{ err, want string }{
		"encrypted export": {readErr(ReadBitwarden([]byte(`{"encrypted":true,"items":[]}`))), "encrypted"},
		"other JSON":       {readErr(ReadBitwarden([]byte(`{"a":1}`))), "items"},
		"no JSON":          {readErr(ReadBitwarden([]byte(`name,url`))), "not a Bitwarden"},
		"no bookmarks":     {readErr(ReadNetscape([]byte(`<html></html>`))), "NETSCAPE"},
		"empty bookmarks":  {readErr(ReadNetscape([]byte(`<!DOCTYPE NETSCAPE-Bookmark-file-1><DL></DL>`))), "no bookmarks"},
		"no vCard":         {readErr(ReadVCard([]byte(`hello`))), "BEGIN:VCARD"},
	} {
		if !strings.Contains(c.err, c.want) {
			t.Errorf("%s: error %q does not say %q", name, c.err, c.want)
		}
	}
}

func readErr[T any](_ []T, _ []Skipped, err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// Original cards come back to the octet, photos included; conversion keeps names, photos and addresses.
func TestVCardIsLossless(t *testing.T) {
	data := sample(t, "contacts.vcf")
	first, skipped, err := ReadVCard(data)
	if err != nil || len(skipped) != 0 {
		t.Fatal(err, skipped)
	}
	if len(first) < 200 {
		t.Errorf("%d contacts, want at least 200", len(first))
	}
	exported, err := WriteVCard(first, "")
	if err != nil || !bytes.Equal(exported, data) {
		t.Errorf("the export differs from the import (%d and %d octets): %v", len(exported), len(data), err)
	}
	for _, version := range []string{"3.0", "4.0"} {
		converted, err := WriteVCard(first, version)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(converted, []byte("VERSION:"+version)); n != len(first) {
			t.Errorf("%s: %d cards of that version, want %d", version, n, len(first))
		}
		second, skipped, err := ReadVCard(converted)
		if err != nil || len(skipped) != 0 {
			t.Fatal(version, err, skipped)
		}
		for i := range first {
			a, _ := Person(first[i])
			b, _ := Person(second[i])
			a.Sources, b.Sources = nil, nil
			if d := cmp.Diff(a, b); d != "" {
				t.Fatalf("%s: contact %d differs: %s", version, i, d)
			}
			if photo(originalOf(first[i])) != photo(originalOf(second[i])) {
				t.Fatalf("%s: the photo of contact %d differs", version, i)
			}
		}
	}
}

// photo is the base64 of a card's photo, unfolded.
func photo(card []byte) string {
	unfolded := strings.ReplaceAll(strings.ReplaceAll(string(card), "\r\n ", ""), "\n ", "")
	for line := range strings.Lines(unfolded) {
		if strings.HasPrefix(line, "PHOTO") {
			line = strings.TrimSpace(line)
			return line[strings.LastIndexAny(line, ":,")+1:]
		}
	}
	return ""
}

func TestVCardSkipsWhatItCannotRead(t *testing.T) {
	data := "BEGIN:VCARD\r\nVERSION:2.1\r\nFN:Old\r\nEND:VCARD\r\nBEGIN:VCARD\r\nVERSION:4.0\r\nUID:u1\r\nFN:Good\r\nEND:VCARD\r\n" +
		"BEGIN:VCARD\r\nVERSION:4.0\r\nUID:u1\r\nFN:Twin\r\nEND:VCARD\r\nBEGIN:VCARD\r\nVERSION:4.0\r\nFN:Cut"
	entries, skipped, err := ReadVCard([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Key != "u1" {
		t.Errorf("entries %v", entries)
	}
	if len(skipped) != 3 {
		t.Errorf("skipped %v, want three", skipped)
	}
}

// A contact made by hand is written as a card that reads back.
func TestVCardOfMembers(t *testing.T) {
	person := mesh.ContactPerson{CommonNames: []mesh.PersonName{{FullName: "Zoë Müller", First: "Zoë", Last: "Müller"}}}
	person.NetworkAddresses = []mesh.NetworkAddress{{Address: "mailto:zoe@example.com"}, {Address: "tel:+491"}}
	tagged, err := mesh.NewTagged(mesh.TagContactPerson, &person)
	if err != nil {
		t.Fatal(err)
	}
	out, err := WriteVCard([]mesh.CatalogedContact{{Key: "k1", Contact: tagged}}, "4.0")
	if err != nil {
		t.Fatal(err)
	}
	back, skipped, err := ReadVCard(out)
	if err != nil || len(skipped) != 0 || len(back) != 1 {
		t.Fatal(err, skipped, len(back))
	}
	got, _ := Person(back[0])
	if d := cmp.Diff(person.NetworkAddresses, got.NetworkAddresses); d != "" || got.CommonNames[0].FullName != "Zoë Müller" {
		t.Error(d, got.CommonNames)
	}
}

// Import → export → import gives the same bookmarks: folders, dates, tags, descriptions, odd characters.
func TestNetscapeIsLossless(t *testing.T) {
	first, skipped, err := ReadNetscape(sample(t, "bookmarks.html"))
	if err != nil || len(skipped) != 0 {
		t.Fatal(err, skipped)
	}
	if len(first) < 300 {
		t.Errorf("%d bookmarks, want at least 300", len(first))
	}
	byPath := map[string]mesh.CatalogedBookmark{}
	tags, descriptions, nested := 0, 0, 0
	for _, b := range first {
		if _, twice := byPath[b.Path]; twice {
			t.Errorf("path %q twice", b.Path)
		}
		byPath[b.Path] = b
		if len(b.Tags) > 0 {
			tags++
		}
		if b.Description != "" {
			descriptions++
		}
		if strings.Count(b.Path, "/") >= 2 {
			nested++
		}
	}
	if tags < 30 || descriptions < 20 || nested < 50 {
		t.Errorf("the sample shows little: %d with tags, %d with a description, %d nested", tags, descriptions, nested)
	}
	slashed := 0
	for path := range byPath {
		if strings.HasPrefix(path, "Arbeit/Projekte∕2020/") {
			slashed++
		}
	}
	if slashed < 40 {
		t.Errorf("%d bookmarks in the folder with a slash in its name, want at least 40", slashed)
	}
	second, skipped, err := ReadNetscape(WriteNetscape(first))
	if err != nil || len(skipped) != 0 {
		t.Fatal(err, skipped)
	}
	byKey := cmpopts.SortSlices(func(a, b mesh.CatalogedBookmark) bool { return a.Path < b.Path })
	if d := cmp.Diff(first, second, byKey, cmpopts.EquateEmpty()); d != "" {
		t.Error("second import differs:", d)
	}
}

func TestPathsJoinAndSplit(t *testing.T) {
	for _, parts := range [][]string{{"a"}, {"a", "b"}, {"a/b", "c"}, {"", "x"}, {"日本/語", "é"}} {
		if d := cmp.Diff(parts, SplitPath(JoinPath(parts))); d != "" {
			t.Error(parts, d)
		}
	}
}

func TestSiteOf(t *testing.T) {
	for _, c := range []struct {
		uris              []string
		title             string
		protocol, service string
	}{
		{[]string{"https://Example.com/login"}, "x", "http", "example.com"},
		{[]string{"http://example.com:8080"}, "x", "http", "example.com:8080"},
		{[]string{"example.com"}, "x", "http", "example.com"},
		{[]string{"androidapp://com.example"}, "x", "androidapp", "com.example"},
		{[]string{"ssh://host/"}, "x", "ssh", "host"},
		{nil, "Safe", "", "Safe"},
	} {
		if p, s := SiteOf(c.uris, c.title); p != c.protocol || s != c.service {
			t.Errorf("SiteOf(%v) = %q, %q; want %q, %q", c.uris, p, s, c.protocol, c.service)
		}
	}
}

func FuzzReaders(f *testing.F) {
	f.Add([]byte(`{"encrypted":false,"folders":[],"items":[{"type":1,"name":"a","login":{"uris":[{"uri":"https://e.example"}],"username":"u"}}]}`))
	f.Add([]byte("BEGIN:VCARD\r\nVERSION:4.0\r\nFN:A\r\nPHOTO:data:image/png;base64,AAAA\r\nEND:VCARD\r\n"))
	f.Add([]byte("<!DOCTYPE NETSCAPE-Bookmark-file-1><DL><DT><H3>f/g</H3><DL><DT><A HREF=\"u\" ADD_DATE=\"1\" TAGS=\"a,b\">t</A><DD>d</DL></DL>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if logins, _, err := ReadBitwarden(data); err == nil {
			if _, err := WriteBitwarden(logins); err != nil {
				t.Fatal(err)
			}
		}
		if contacts, _, err := ReadVCard(data); err == nil {
			for _, v := range []string{"", "3.0", "4.0"} {
				if _, err := WriteVCard(contacts, v); err != nil {
					t.Fatal(err)
				}
			}
		}
		if marks, _, err := ReadNetscape(data); err == nil {
			WriteNetscape(marks)
		}
	})
}

package formats

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// The members of Bitwarden's unencrypted JSON export that logins use.
type bitwardenFile struct {
	Encrypted bool              `json:"encrypted"`
	Folders   []bitwardenFolder `json:"folders"`
	Items     []bitwardenItem   `json:"items"`
}

type bitwardenFolder struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type bitwardenItem struct {
	PasswordHistory []bitwardenPast  `json:"passwordHistory"`
	RevisionDate    *time.Time       `json:"revisionDate"`
	CreationDate    *time.Time       `json:"creationDate"`
	DeletedDate     *time.Time       `json:"deletedDate"`
	ID              string           `json:"id"`
	FolderID        *string          `json:"folderId"`
	Type            int              `json:"type"`
	Reprompt        int              `json:"reprompt"`
	Name            string           `json:"name"`
	Notes           *string          `json:"notes"`
	Favorite        bool             `json:"favorite"`
	Fields          []bitwardenField `json:"fields,omitempty"`
	Login           *bitwardenLogin  `json:"login,omitempty"`
	CollectionIDs   []string         `json:"collectionIds"`
}

type bitwardenLogin struct {
	FIDO2    []json.RawMessage `json:"fido2Credentials,omitempty"`
	URIs     []bitwardenURI    `json:"uris"`
	Username *string           `json:"username"`
	Password *string           `json:"password"`
	TOTP     *string           `json:"totp"`
}

type bitwardenURI struct {
	Match *int   `json:"match"`
	URI   string `json:"uri"`
}

type bitwardenField struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	Type     int    `json:"type"`
	LinkedID *int   `json:"linkedId"`
}

type bitwardenPast struct {
	LastUsedDate time.Time `json:"lastUsedDate"`
	Password     string    `json:"password"`
}

// The item types of Bitwarden.
const bitwardenTypeLogin = 1

var bitwardenTypes = map[int]string{2: "a secure note", 3: "a card", 4: "an identity", 5: "an SSH key"}

// What a login has and a CatalogedCredential has no member for is kept as labels, so that an export gives it back.
const (
	labelFavorite = "favorite"
	labelReprompt = "reprompt"
	labelMatch    = "match:" // match:<index of URI>:<Bitwarden's number>
	labelField    = "field:" // field:<index of field>:<Bitwarden's type>[:<linked id>]
)

// ReadBitwarden reads the logins of an unencrypted Bitwarden JSON export.
// Primary keys are unique in the result: a second login of the same site and user gets a number (DATA §5).
func ReadBitwarden(data []byte) ([]mesh.CatalogedCredential, []Skipped, error) {
	var file bitwardenFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, nil, fmt.Errorf("not a Bitwarden JSON export: %w", err)
	}
	if file.Encrypted {
		return nil, nil, errors.New("this Bitwarden export is encrypted: export again as “.json”, not “.json (Encrypted)”")
	}
	if file.Items == nil {
		return nil, nil, errors.New("not a Bitwarden JSON export: it has no member “items”")
	}
	folders := map[string]string{}
	for _, f := range file.Folders {
		folders[f.ID] = f.Name
	}
	var entries []mesh.CatalogedCredential
	var skipped []Skipped
	seen := map[string]int{}
	for _, item := range file.Items {
		switch {
		case item.DeletedDate != nil:
			skipped = append(skipped, skip(item.Name, "it is in the trash"))
			continue
		case item.Type != bitwardenTypeLogin || item.Login == nil:
			what, ok := bitwardenTypes[item.Type]
			if !ok {
				what = fmt.Sprintf("of type %d", item.Type)
			}
			skipped = append(skipped, skip(item.Name, "it is %s, not a login", what))
			continue
		}
		if n := len(item.Login.FIDO2); n > 0 {
			skipped = append(skipped, skip(item.Name, "%d passkey(s) stay behind; the login itself was taken", n))
		}
		entry := credentialOf(item, folders)
		if n := seen[entry.PrimaryKey()]; n > 0 {
			seen[entry.PrimaryKey()]++
			entry.Key = fmt.Sprintf("%s:%d", entry.PrimaryKey(), n+1)
		} else {
			seen[entry.PrimaryKey()] = 1
		}
		entries = append(entries, entry)
	}
	return entries, skipped, nil
}

func credentialOf(item bitwardenItem, folders map[string]string) mesh.CatalogedCredential {
	var c mesh.CatalogedCredential
	c.Title = item.Name
	c.Username, c.Password, c.TOTP = deref(item.Login.Username), deref(item.Login.Password), deref(item.Login.TOTP)
	c.Notes = deref(item.Notes)
	if item.FolderID != nil {
		c.Folder = folders[*item.FolderID]
	}
	for i, u := range item.Login.URIs {
		c.URIs = append(c.URIs, u.URI)
		if u.Match != nil {
			c.Labels = append(c.Labels, fmt.Sprintf("%s%d:%d", labelMatch, i, *u.Match))
		}
	}
	c.Protocol, c.Service = SiteOf(c.URIs, item.Name)
	for i, f := range item.Fields {
		c.Fields = append(c.Fields, dare.KeyValue{Key: f.Name, Value: f.Value})
		if f.LinkedID != nil {
			c.Labels = append(c.Labels, fmt.Sprintf("%s%d:%d:%d", labelField, i, f.Type, *f.LinkedID))
		} else if f.Type != 0 {
			c.Labels = append(c.Labels, fmt.Sprintf("%s%d:%d", labelField, i, f.Type))
		}
	}
	for _, p := range item.PasswordHistory {
		c.PreviousPasswords = append(c.PreviousPasswords, dare.KeyValue{Key: p.LastUsedDate.UTC().Format(time.RFC3339), Value: p.Password})
	}
	if item.Favorite {
		c.Labels = append(c.Labels, labelFavorite)
	}
	if item.Reprompt != 0 {
		c.Labels = append(c.Labels, labelReprompt)
	}
	if item.CreationDate != nil {
		c.Created = stamp(*item.CreationDate)
	}
	if item.RevisionDate != nil {
		c.Modified = stamp(*item.RevisionDate)
	}
	return c
}

// SiteOf is the protocol and service that name a login: scheme and host of its first URI; a login of the web is
// `http` whatever the transport; without a URI the title names it.
func SiteOf(uris []string, title string) (protocol, service string) {
	if len(uris) == 0 {
		return "", title
	}
	u, err := url.Parse(uris[0])
	switch {
	case err != nil:
		return "", uris[0]
	case u.Host == "" && u.Scheme == "": // people write example.com, not a URI
		return "http", strings.ToLower(strings.SplitN(uris[0], "/", 2)[0])
	case u.Scheme == "https":
		return "http", strings.ToLower(u.Host)
	case u.Host == "":
		return u.Scheme, u.Opaque
	}
	return u.Scheme, strings.ToLower(u.Host)
}

// WriteBitwarden writes logins as Bitwarden's unencrypted JSON. Identifiers are derived from primary keys, so that the
// same entries give the same octets.
func WriteBitwarden(entries []mesh.CatalogedCredential) ([]byte, error) {
	file := bitwardenFile{Folders: []bitwardenFolder{}, Items: []bitwardenItem{}}
	folders := map[string]string{}
	for _, c := range entries {
		if c.Folder == "" || folders[c.Folder] != "" {
			continue
		}
		folders[c.Folder] = identifier("folder", c.Folder)
		file.Folders = append(file.Folders, bitwardenFolder{folders[c.Folder], c.Folder})
	}
	slices.SortFunc(file.Folders, func(a, b bitwardenFolder) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range entries {
		file.Items = append(file.Items, itemOf(c, folders))
	}
	out, err := json.MarshalIndent(file, "", "  ")
	return append(out, '\n'), err
}

func itemOf(c mesh.CatalogedCredential, folders map[string]string) bitwardenItem {
	item := bitwardenItem{
		ID: identifier("item", c.PrimaryKey()), Type: bitwardenTypeLogin, Name: c.Title, Notes: ref(c.Notes),
		Login: &bitwardenLogin{URIs: []bitwardenURI{}, Username: ref(c.Username), Password: ref(c.Password), TOTP: ref(c.TOTP)},
	}
	if c.Title == "" {
		item.Name = c.Service
	}
	if c.Folder != "" {
		id := folders[c.Folder]
		item.FolderID = &id
	}
	for _, u := range c.URIs {
		item.Login.URIs = append(item.Login.URIs, bitwardenURI{URI: u})
	}
	if len(c.URIs) == 0 && c.Protocol == "http" { // a login typed in by hand: make it useful elsewhere
		item.Login.URIs = append(item.Login.URIs, bitwardenURI{URI: "https://" + c.Service})
	}
	for _, f := range c.Fields {
		item.Fields = append(item.Fields, bitwardenField{Name: f.Key, Value: f.Value})
	}
	for _, p := range c.PreviousPasswords {
		at, _ := time.Parse(time.RFC3339, p.Key) // a time that does not parse is written as the zero time
		item.PasswordHistory = append(item.PasswordHistory, bitwardenPast{at, p.Value})
	}
	item.CreationDate, item.RevisionDate = moment(c.Created), moment(c.Modified)
	for _, label := range c.Labels {
		applyLabel(&item, label)
	}
	return item
}

func applyLabel(item *bitwardenItem, label string) {
	switch {
	case label == labelFavorite:
		item.Favorite = true
	case label == labelReprompt:
		item.Reprompt = 1
	case strings.HasPrefix(label, labelMatch):
		if n := numbers(label[len(labelMatch):]); len(n) == 2 && n[0] < len(item.Login.URIs) {
			item.Login.URIs[n[0]].Match = &n[1]
		}
	case strings.HasPrefix(label, labelField):
		if n := numbers(label[len(labelField):]); len(n) >= 2 && n[0] < len(item.Fields) {
			item.Fields[n[0]].Type = n[1]
			if len(n) == 3 {
				item.Fields[n[0]].LinkedID = &n[2]
			}
		}
	}
}

// numbers reads a:b:c; nil when one is not a natural number.
func numbers(s string) []int {
	var out []int
	for part := range strings.SplitSeq(s, ":") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil
		}
		out = append(out, n)
	}
	return out
}

// identifier is a stable UUID for a name.
func identifier(kind, name string) string {
	h := sha256.Sum256([]byte("mesh-export:" + kind + ":" + name))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // version 8: made by a rule of one's own (RFC 9562 §5.8)
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func ref(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func moment(t *jbcd.Time) *time.Time {
	if t == nil {
		return nil
	}
	return &t.Time
}

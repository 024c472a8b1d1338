//go:build ignore

// generate writes the sample exports of this folder: what a password manager, an address book and a browser write.
// The people and sites are invented; the same seed gives the same files. Run: go run generate.go
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

var rng = rand.New(rand.NewPCG(448, 2020))

var start = time.Date(2019, 3, 4, 5, 6, 7, 0, time.UTC)

func when() time.Time { return start.Add(time.Duration(rng.IntN(6*365*24)) * time.Hour) }

func pick[T any](s []T) T { return s[rng.IntN(len(s))] }

func main() {
	write("bitwarden.json", logins(520))
	write("contacts.vcf", contacts(220))
	write("bookmarks.html", bookmarks(330))
}

func write(name string, data []byte) {
	if err := os.WriteFile(name, data, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// --- logins, as Bitwarden exports them

type login struct {
	URIs     []uri   `json:"uris"`
	Username *string `json:"username"`
	Password *string `json:"password"`
	TOTP     *string `json:"totp"`
}

type uri struct {
	Match *int   `json:"match"`
	URI   string `json:"uri"`
}

type field struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	Type     int    `json:"type"`
	LinkedID *int   `json:"linkedId"`
}

type past struct {
	LastUsedDate time.Time `json:"lastUsedDate"`
	Password     string    `json:"password"`
}

type item struct {
	PasswordHistory []past     `json:"passwordHistory"`
	RevisionDate    time.Time  `json:"revisionDate"`
	CreationDate    time.Time  `json:"creationDate"`
	DeletedDate     *time.Time `json:"deletedDate"`
	ID              string     `json:"id"`
	OrganizationID  *string    `json:"organizationId"`
	FolderID        *string    `json:"folderId"`
	Type            int        `json:"type"`
	Reprompt        int        `json:"reprompt"`
	Name            string     `json:"name"`
	Notes           *string    `json:"notes"`
	Favorite        bool       `json:"favorite"`
	Fields          []field    `json:"fields,omitempty"`
	Login           *login     `json:"login,omitempty"`
	SecureNote      any        `json:"secureNote,omitempty"`
	Card            any        `json:"card,omitempty"`
	CollectionIDs   []string   `json:"collectionIds"`
}

func uuid() string {
	var b [16]byte
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func password() string {
	const set = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789!#$%&*+-=?@^_ \"\\/<>äé漢"
	r := []rune(set)
	var b strings.Builder
	for range 12 + rng.IntN(20) {
		b.WriteRune(pick(r))
	}
	return b.String()
}

var words = strings.Fields("amber atlas birch canyon cedar comet copper delta ember falcon fjord garnet harbor indigo juniper kestrel lagoon maple " +
	"meadow nectar onyx orchid pebble quartz raven sage summit tundra umber velvet willow zephyr")

func site() string {
	return fmt.Sprintf("%s%s.example", pick(words), pick([]string{"", "-shop", "-bank", "-mail", "-games", "-travel", "-news", "hub"}))
}

func logins(n int) []byte {
	folders := []map[string]string{}
	for _, name := range []string{"Arbeit", "Banking", "Einkauf/Bücher", "Social", "仕事"} {
		folders = append(folders, map[string]string{"id": uuid(), "name": name})
	}
	var items []item
	add := func(name, user string, uris ...uri) *item {
		created := when()
		p := password()
		it := item{ID: uuid(), Type: 1, Name: name, CreationDate: created, RevisionDate: created.Add(time.Duration(rng.IntN(1000)) * time.Hour), Login: &login{URIs: uris, Username: &user, Password: &p}}
		if rng.IntN(3) > 0 {
			id := pick(folders)["id"]
			it.FolderID = &id
		}
		items = append(items, it)
		return &items[len(items)-1]
	}
	for i := range n {
		host := site()
		user := fmt.Sprintf("%s.%s%d@mail.example", pick(words), pick(words), i)
		it := add(strings.ToUpper(host[:1])+host[1:], user, uri{URI: "https://" + host + "/login"})
		switch {
		case i%7 == 0:
			secret := "otpauth://totp/" + host + ":" + user + "?secret=JBSWY3DPEHPK3PXP&issuer=" + host + "&algorithm=SHA1&digits=6&period=30"
			it.Login.TOTP = &secret
		case i%7 == 1:
			notes := "Kundennummer " + fmt.Sprint(rng.IntN(1e6)) + "\nzweite Zeile\t(mit Tabulator)\nпароль сменить в мае 🔑"
			it.Notes = &notes
		case i%7 == 2:
			m := 1
			it.Login.URIs = append(it.Login.URIs, uri{URI: "https://accounts." + host}, uri{URI: "androidapp://com." + strings.TrimSuffix(host, ".example"), Match: &m})
		case i%7 == 3:
			link := 100
			it.Fields = []field{{Name: "PIN", Value: fmt.Sprint(1000 + rng.IntN(9000)), Type: 1}, {Name: "security question", Value: "first pet: Fløffy"}, {Name: "newsletter", Value: "false", Type: 2}, {Name: "user", Type: 3, LinkedID: &link}}
		case i%7 == 4:
			it.PasswordHistory = []past{{when(), password()}, {when(), password()}}
			it.Favorite = true
		}
	}
	// Several logins at one site, one of them twice the same user, and some that are not logins.
	for _, user := range []string{"anna", "anna", "bernd", "office@corp.example", ""} {
		add("Corp portal", user, uri{URI: "https://portal.corp.example/sso"})
	}
	bare := add("Safe in the hall", "")
	bare.Login.URIs = nil
	note := "only a note"
	items = append(items,
		item{ID: uuid(), Type: 2, Name: "Wi-Fi at the cabin", Notes: &note, SecureNote: map[string]int{"type": 0}, CreationDate: start, RevisionDate: start},
		item{ID: uuid(), Type: 3, Name: "Visa", Card: map[string]string{"cardholderName": "Anna Beispiel", "brand": "Visa"}, CreationDate: start, RevisionDate: start})
	gone := add("Old forum", "anna", uri{URI: "https://forum.example"})
	gone.DeletedDate = &start
	out, err := json.MarshalIndent(map[string]any{"encrypted": false, "folders": folders, "items": items}, "", "  ")
	if err != nil {
		panic(err)
	}
	return append(out, '\n')
}

// --- contacts, vCard 3 and 4

func photo(seed int) []byte {
	m := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for y := range 64 {
		for x := range 64 {
			m.Set(x, y, color.RGBA{uint8(x*4 + seed*7), uint8(y*4 + seed*13), uint8((x*y)/16 + seed*29), 255})
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 70}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

var people = [][2]string{
	{"Søren", "Kjær"}, {"Zoë", "Müller-Lüdenscheidt"}, {"Иван", "Сидоров"}, {"Ольга", "Ковальчук"}, {"小明", "王"}, {"さくら", "田中"}, {"민준", "김"},
	{"محمد", "العلي"}, {"דוד", "כהן"}, {"Αθηνά", "Παπαδοπούλου"}, {"प्रिया", "शर्मा"}, {"สมชาย", "ใจดี"}, {"Nguyễn", "Văn An"}, {"Łukasz", "Żółć"}, {"Anna", "Beispiel"},
	{"Mary Ann", "O'Neill, Jr."}, {"გიორგი", "ბერიძე"}, {"Արամ", "Պետրոսյան"}, {"João", "da Silva e Sousa"}, {"Nuñez; \"El\"", "García"},
}

func escape(s string) string {
	return strings.NewReplacer("\\", "\\\\", ",", "\\,", ";", "\\;", "\n", "\\n").Replace(s)
}

// fold breaks a line at 75 octets, never inside a character.
func fold(b *strings.Builder, line string) {
	room := 75
	for len(line) > room {
		cut := room
		for cut > 0 && line[cut]&0xC0 == 0x80 {
			cut--
		}
		b.WriteString(line[:cut] + "\r\n ")
		line, room = line[cut:], 74
	}
	b.WriteString(line + "\r\n")
}

func contacts(n int) []byte {
	var b strings.Builder
	for i := range n {
		p := people[i%len(people)]
		given, family := p[0], p[1]
		if i >= len(people) {
			family += fmt.Sprintf(" %d", i)
		}
		line := func(s string, a ...any) { fold(&b, fmt.Sprintf(s, a...)) }
		line("BEGIN:VCARD")
		v4 := i%2 == 1
		if v4 {
			line("VERSION:4.0")
		} else {
			line("VERSION:3.0")
		}
		line("UID:urn:uuid:%s", uuid())
		line("N:%s;%s;;;", escape(family), escape(given))
		line("FN:%s %s", escape(given), escape(family))
		line("EMAIL;TYPE=home:%s.%d@people.example", pick(words), i)
		if i%3 == 0 {
			line("EMAIL;TYPE=work:office%d@corp.example", i)
			line("ORG:%s;%s", escape("Beispiel & Söhne, GmbH"), "Forschung")
			line("TITLE:Ingénieur")
		}
		if i%4 == 0 {
			line("TEL;TYPE=cell:+49 170 %07d", rng.IntN(1e7))
			line("ADR;TYPE=home:;;Hauptstraße %d;Köln;NRW;50667;Deutschland", i)
		}
		if i%5 == 0 {
			line("NOTE:%s", escape("Kennengelernt in Oslo;\nmag Käse, hasst Fisch. 今度電話する"))
			line("item1.X-ABLabel:Jahrestag")
			line("item1.X-ABDATE:2011-05-%02d", 1+i%28)
		}
		pic := base64.StdEncoding.EncodeToString(photo(i))
		if v4 {
			line("PHOTO:data:image/jpeg;base64,%s", pic)
		} else {
			line("PHOTO;ENCODING=b;TYPE=JPEG:%s", pic)
		}
		line("REV:%s", when().Format("20060102T150405Z"))
		line("END:VCARD")
	}
	return []byte(b.String())
}

// --- bookmarks, as every browser writes them

func bookmarks(n int) []byte {
	var b strings.Builder
	b.WriteString("<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<!-- This is an automatically generated file.\n     It will be read and overwritten.\n     DO NOT EDIT! -->\n" +
		"<META HTTP-EQUIV=\"Content-Type\" CONTENT=\"text/html; charset=UTF-8\">\n<TITLE>Bookmarks</TITLE>\n<H1>Bookmarks Menu</H1>\n\n<DL><p>\n")
	mark := func(indent string, i int) {
		at := when().Unix()
		title := fmt.Sprintf("%s %s – %s", pick(words), pick([]string{"& friends", "<beta>", "für alle", "日本語", "news"}), pick(words))
		url := fmt.Sprintf("https://%s/%s?q=%s&n=%d", site(), pick(words), pick(words), i)
		tags := ""
		if i%6 == 0 {
			tags = fmt.Sprintf(" TAGS=\"%s,%s\"", pick(words), "läsen")
		}
		fmt.Fprintf(&b, "%s<DT><A HREF=\"%s\" ADD_DATE=\"%d\" LAST_MODIFIED=\"%d\"%s>%s</A>\n", indent, html.EscapeString(url), at, at+int64(rng.IntN(1e6)), tags, html.EscapeString(title))
		if i%9 == 0 {
			fmt.Fprintf(&b, "%s<DD>%s\n", indent, html.EscapeString("Notiz: "+pick(words)+" & mehr"))
		}
	}
	folders := [][]string{{"Toolbar"}, {"Arbeit"}, {"Arbeit", "Projekte/2020"}, {"Rezepte", "Süßes"}, {"技術", "Go", "Tips & Tricks"}}
	i := 0
	for f, path := range folders {
		for depth, name := range path {
			attr := ""
			if f == 0 {
				attr = " PERSONAL_TOOLBAR_FOLDER=\"true\""
			}
			in := strings.Repeat("    ", depth+1)
			fmt.Fprintf(&b, "%s<DT><H3 ADD_DATE=\"%d\"%s>%s</H3>\n%s<DL><p>\n", in, when().Unix(), attr, html.EscapeString(name), in)
		}
		for range n / (len(folders) + 1) {
			mark(strings.Repeat("    ", len(path)+1), i)
			i++
		}
		for depth := len(path); depth > 0; depth-- {
			fmt.Fprintf(&b, "%s</DL><p>\n", strings.Repeat("    ", depth))
		}
	}
	for ; i < n; i++ {
		mark("    ", i)
	}
	// The same page twice in one folder, and one that is not a web page.
	for range 2 {
		fmt.Fprintf(&b, "    <DT><A HREF=\"https://twice.example/\" ADD_DATE=\"1600000000\">Twice</A>\n")
	}
	fmt.Fprintf(&b, "    <DT><A HREF=\"javascript:alert(1)\" ADD_DATE=\"1600000001\">Bookmarklet</A>\n    <HR>\n</DL>\n")
	return []byte(b.String())
}

package formats

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	xhtml "golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// pathSeparator joins folders and name in CatalogedBookmark.Path; a `/` inside a folder's name is written `∕` (U+2215).
const (
	pathSeparator = "/"
	slashInName   = "∕"
)

// ReadNetscape reads the bookmark HTML that every browser writes. Folders become the front of Path, its last part is a
// name unique in the folder (the title, numbered when two have the same).
func ReadNetscape(data []byte) ([]mesh.CatalogedBookmark, []Skipped, error) {
	if !bytes.Contains(bytes.ToUpper(data[:min(len(data), 1024)]), []byte("NETSCAPE-BOOKMARK-FILE")) {
		return nil, nil, errors.New("not a bookmark file: its first line is not <!DOCTYPE NETSCAPE-Bookmark-file-1>")
	}
	doc, err := xhtml.Parse(bytes.NewReader(data))
	if err != nil {
		return nil, nil, fmt.Errorf("bookmark file: %w", err)
	}
	r := netscapeReader{used: map[string]int{}}
	r.walk(doc, nil)
	if len(r.entries) == 0 && len(r.skipped) == 0 {
		return nil, nil, errors.New("the bookmark file has no bookmarks")
	}
	return r.entries, r.skipped, nil
}

type netscapeReader struct {
	entries []mesh.CatalogedBookmark
	skipped []Skipped
	used    map[string]int
	heading string // text of the last H3: the name of the DL that follows
}

// walk visits the tree in document order. The format is tag soup: a DL is the body of the H3 before it.
func (r *netscapeReader) walk(n *xhtml.Node, folder []string) {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if c.Type != xhtml.ElementNode {
			continue
		}
		switch c.DataAtom {
		case atom.H3:
			r.heading = text(c)
		case atom.Dl:
			inner := folder
			if r.heading != "" {
				inner = append(slices.Clone(folder), r.heading)
				r.heading = ""
			}
			r.walk(c, inner)
		case atom.A:
			r.bookmark(c, folder)
		case atom.Dd:
			if d := strings.TrimSpace(ownText(c)); d != "" && len(r.entries) > 0 {
				r.entries[len(r.entries)-1].Description = d
			}
			r.walk(c, folder)
		default:
			r.walk(c, folder)
		}
	}
}

func (r *netscapeReader) bookmark(a *xhtml.Node, folder []string) {
	title, uri := text(a), attribute(a, "href")
	if uri == "" {
		r.skipped = append(r.skipped, skip(title, "it has no address"))
		return
	}
	if strings.HasPrefix(strings.ToLower(uri), "place:") {
		r.skipped = append(r.skipped, skip(title, "it is a query of the browser, not a page"))
		return
	}
	b := mesh.CatalogedBookmark{URI: uri, Title: title}
	if s := attribute(a, "add_date"); s != "" {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			b.Created = stamp(time.Unix(n, 0))
		}
	}
	if s := attribute(a, "tags"); s != "" {
		b.Tags = strings.Split(s, ",")
	}
	name := title
	if name == "" {
		name = uri
	}
	path := JoinPath(append(slices.Clone(folder), name))
	if n := r.used[path]; n > 0 {
		r.used[path]++
		path = fmt.Sprintf("%s (%d)", path, n+1)
	}
	r.used[path]++
	b.Path = path
	r.entries = append(r.entries, b)
}

// JoinPath makes a Path of folder names and a name.
func JoinPath(parts []string) string {
	safe := make([]string, len(parts))
	for i, p := range parts {
		safe[i] = strings.ReplaceAll(p, pathSeparator, slashInName)
	}
	return strings.Join(safe, pathSeparator)
}

// SplitPath is the inverse of JoinPath.
func SplitPath(path string) []string {
	parts := strings.Split(path, pathSeparator)
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(p, slashInName, pathSeparator)
	}
	return parts
}

func text(n *xhtml.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == xhtml.TextNode {
			b.WriteString(c.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

// ownText is the text of a node before its first element: a DD is not closed, later items nest in it.
func ownText(n *xhtml.Node) string {
	var b strings.Builder
	for c := n.FirstChild; c != nil && c.Type == xhtml.TextNode; c = c.NextSibling {
		b.WriteString(c.Data)
	}
	return b.String()
}

func attribute(n *xhtml.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// folderTree is a folder of the export.
type folderTree struct {
	name    string
	folders []*folderTree
	marks   []mesh.CatalogedBookmark
}

func (f *folderTree) child(name string) *folderTree {
	for _, c := range f.folders {
		if c.name == name {
			return c
		}
	}
	c := &folderTree{name: name}
	f.folders = append(f.folders, c)
	return c
}

// WriteNetscape writes bookmarks as the HTML that every browser reads, folders from the front of Path.
func WriteNetscape(entries []mesh.CatalogedBookmark) []byte {
	root := &folderTree{}
	for _, e := range entries {
		parts := SplitPath(e.Path)
		f := root
		for _, name := range parts[:len(parts)-1] {
			f = f.child(name)
		}
		f.marks = append(f.marks, e)
	}
	var b bytes.Buffer
	b.WriteString("<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<META HTTP-EQUIV=\"Content-Type\" CONTENT=\"text/html; charset=UTF-8\">\n<TITLE>Bookmarks</TITLE>\n<H1>Bookmarks</H1>\n\n")
	root.write(&b, "")
	return b.Bytes()
}

func (f *folderTree) write(b *bytes.Buffer, indent string) {
	fmt.Fprintf(b, "%s<DL><p>\n", indent)
	for _, c := range f.folders {
		fmt.Fprintf(b, "%s    <DT><H3>%s</H3>\n", indent, html.EscapeString(c.name))
		c.write(b, indent+"    ")
	}
	for _, m := range f.marks {
		fmt.Fprintf(b, "%s    <DT><A HREF=\"%s\"", indent, html.EscapeString(m.URI))
		if m.Created != nil {
			fmt.Fprintf(b, " ADD_DATE=\"%d\"", m.Created.Unix())
		}
		if len(m.Tags) > 0 {
			fmt.Fprintf(b, " TAGS=\"%s\"", html.EscapeString(strings.Join(m.Tags, ",")))
		}
		fmt.Fprintf(b, ">%s</A>\n", html.EscapeString(m.Title))
		if m.Description != "" {
			fmt.Fprintf(b, "%s    <DD>%s\n", indent, html.EscapeString(m.Description))
		}
	}
	fmt.Fprintf(b, "%s</DL><p>\n", indent)
}

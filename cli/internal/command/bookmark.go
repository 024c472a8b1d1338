package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mathmesh/meshd/cli/internal/formats"
	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/spf13/cobra"
)

const containerBookmark = "mmm_Bookmark"

func (a *app) bookmarkCommand() *cobra.Command {
	return group("bookmark", "Bookmarks: add, get, list, delete, import, export",
		a.bookmarkAdd(), a.bookmarkGet(), a.bookmarkList(), a.bookmarkDelete(), a.bookmarkImport(), a.bookmarkExport())
}

type bookmarkOutput struct {
	Path        string   `json:"path"`
	URI         string   `json:"uri"`
	Title       string   `json:"title"`
	Tags        []string `json:"tags,omitempty"`
	Description string   `json:"description,omitempty"`
}

func (a *app) emitBookmarks(found []mesh.CatalogedBookmark) error {
	out := []bookmarkOutput{}
	for _, b := range found {
		out = append(out, bookmarkOutput{b.Path, b.URI, b.Title, b.Tags, b.Description})
	}
	return a.emit(out, func(w io.Writer) {
		fmt.Fprintln(w, "PATH\tURI\tTITLE")
		for _, b := range out {
			fmt.Fprintf(w, "%s\t%s\t%s\n", b.Path, b.URI, b.Title)
		}
	})
}

func (a *app) bookmarkAdd() *cobra.Command {
	return &cobra.Command{
		Use: "add PATH URI TITLE", Short: "Store a bookmark; PATH is folder/name", Args: exactly(3),
		Example: "  mesh bookmark add Work/wiki https://wiki.example.com/ 'The wiki'",
		RunE: func(cmd *cobra.Command, args []string) error {
			entry := mesh.CatalogedBookmark{Path: args[0], URI: args[1], Title: args[2], Created: &jbcd.Time{Time: time.Now().UTC().Truncate(time.Second)}}
			return a.changeOne(cmd.Context(), containerBookmark, "stored", func(c *client.Catalog) (string, error) {
				return entry.PrimaryKey(), c.Put(&entry)
			})
		},
	}
}

func (a *app) bookmarkGet() *cobra.Command {
	return &cobra.Command{
		Use: "get SITE", Short: "Bookmarks whose address, title or path has SITE in it", Args: exactly(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.view(containerBookmark, func(c *client.Catalog) error {
				all, err := decode[mesh.CatalogedBookmark](c)
				if err != nil {
					return err
				}
				var found []mesh.CatalogedBookmark
				for _, b := range all {
					if strings.Contains(strings.ToLower(b.URI+"\n"+b.Title+"\n"+b.Path), strings.ToLower(args[0])) {
						found = append(found, b)
					}
				}
				if len(found) == 0 {
					return notFoundf("no bookmark with %q in it", args[0])
				}
				return a.emitBookmarks(found)
			})
		},
	}
}

func (a *app) bookmarkList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "All bookmarks", Args: exactly(0),
		RunE: func(*cobra.Command, []string) error {
			return a.view(containerBookmark, func(c *client.Catalog) error {
				all, err := decode[mesh.CatalogedBookmark](c)
				if err != nil {
					return err
				}
				return a.emitBookmarks(all)
			})
		},
	}
}

func (a *app) bookmarkDelete() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "delete URI", Short: "Delete a bookmark by its address", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeOne(cmd.Context(), containerBookmark, "deleted", func(c *client.Catalog) (string, error) {
				all, err := decode[mesh.CatalogedBookmark](c)
				if err != nil {
					return "", err
				}
				var found []mesh.CatalogedBookmark
				for _, b := range all {
					if b.URI == args[0] && (path == "" || b.Path == path) {
						found = append(found, b)
					}
				}
				switch len(found) {
				case 0:
					return "", notFoundf("no bookmark of %s", args[0])
				case 1:
					_, err = c.Delete(found[0].PrimaryKey())
					return "", err
				}
				var paths []string
				for _, b := range found {
					paths = append(paths, b.Path)
				}
				return "", usagef("%s is bookmarked %d times, say which with --path:\n  %s", args[0], len(found), strings.Join(paths, "\n  "))
			})
		},
	}
	c.Flags().StringVar(&path, "path", "", "path of the bookmark, when the address has several")
	return c
}

func (a *app) bookmarkImport() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "Take a browser's bookmark HTML", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return importFile(cmd.Context(), a, args[0], containerBookmark, "bookmarks", formats.ReadNetscape)
		},
	}
}

func (a *app) bookmarkExport() *cobra.Command {
	return &cobra.Command{
		Use: "export FILE", Short: "Write bookmark HTML that every browser reads", Args: exactly(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.view(containerBookmark, func(c *client.Catalog) error {
				all, err := decode[mesh.CatalogedBookmark](c)
				if err != nil {
					return err
				}
				return a.writeOutput(args[0], formats.WriteNetscape(all))
			})
		},
	}
}

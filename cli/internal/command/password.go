package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mathmesh/meshd/cli/internal/formats"
	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/spf13/cobra"
)

const containerCredential = "mmm_Credential"

func (a *app) passwordCommand() *cobra.Command {
	return group("password", "Logins: add, get, list, delete, import, export",
		a.passwordAdd(), a.passwordGet(), a.passwordList(), a.passwordDelete(), a.passwordImport(), a.passwordExport())
}

func (a *app) passwordAdd() *cobra.Command {
	var passwordFile, totpFile, notes, folder string
	var uris []string
	c := &cobra.Command{
		Use: "add SITE USER", Short: "Store a login; the password is asked for, or read from a file", Args: exactly(2),
		Example: "  mesh password add example.com alice\n  pass-generator | mesh password add example.com alice --password-file -",
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := a.secret("password", passwordFile)
			if err != nil {
				return err
			}
			now := &jbcd.Time{Time: time.Now().UTC().Truncate(time.Second)}
			entry := mesh.CatalogedCredential{Username: args[1], Password: password, Notes: notes, Folder: folder, Created: now, Modified: now}
			entry.URIs = uris
			if len(uris) == 0 && strings.Contains(args[0], "://") {
				entry.URIs = []string{args[0]}
			}
			entry.Protocol, entry.Service = formats.SiteOf([]string{args[0]}, args[0])
			if totpFile != "" {
				if entry.TOTP, err = a.secret("totp", totpFile); err != nil {
					return err
				}
			}
			return a.changeOne(cmd.Context(), containerCredential, "stored", func(c *client.Catalog) (string, error) {
				if old, ok, err := c.Get(entry.PrimaryKey()); err != nil {
					return "", err
				} else if ok {
					if err := keepOld(&entry, old.Body, notes == "", totpFile == "", folder == ""); err != nil {
						return "", err
					}
				}
				return entry.PrimaryKey(), c.Put(&entry)
			})
		},
	}
	c.Flags().StringVar(&passwordFile, "password-file", "", "file with the password on its first line; - for standard input")
	c.Flags().StringVar(&totpFile, "totp-file", "", "file with the TOTP secret or otpauth URI")
	c.Flags().StringVar(&notes, "notes", "", "notes")
	c.Flags().StringArrayVar(&uris, "uri", nil, "address of the site; may be repeated")
	c.Flags().StringVar(&folder, "folder", "", "folder")
	return c
}

// keepOld carries over what an existing login has and the command did not name: a changed password goes to the history.
func keepOld(entry *mesh.CatalogedCredential, body jbcd.Raw, notes, totp, folder bool) error {
	var old mesh.CatalogedCredential
	if err := jbcd.Unmarshal(body, &old); err != nil {
		return err
	}
	entry.Title, entry.Fields, entry.Labels, entry.Created, entry.PreviousPasswords = old.Title, old.Fields, old.Labels, old.Created, old.PreviousPasswords
	if len(entry.URIs) == 0 {
		entry.URIs = old.URIs
	}
	if notes {
		entry.Notes = old.Notes
	}
	if totp {
		entry.TOTP = old.TOTP
	}
	if folder {
		entry.Folder = old.Folder
	}
	if old.Password != entry.Password {
		entry.PreviousPasswords = append(entry.PreviousPasswords, dare.KeyValue{Key: entry.Modified.Format(time.RFC3339), Value: old.Password})
	}
	return nil
}

// loginOutput is a login as it is shown; the password only by get.
type loginOutput struct {
	Key      string            `json:"key"`
	Service  string            `json:"service"`
	Username string            `json:"username"`
	Title    string            `json:"title,omitempty"`
	Folder   string            `json:"folder,omitempty"`
	URIs     []string          `json:"uris,omitempty"`
	Password string            `json:"password,omitempty"`
	TOTP     string            `json:"totp,omitempty"`
	Notes    string            `json:"notes,omitempty"`
	Fields   map[string]string `json:"fields,omitempty"`
}

// matching returns the logins of a site (host, part of the title or key; "" is all) and user.
func matching(all []mesh.CatalogedCredential, site, user string) []mesh.CatalogedCredential {
	var exact, loose []mesh.CatalogedCredential
	site = strings.ToLower(site)
	for _, c := range all {
		if user != "" && c.Username != user {
			continue
		}
		switch {
		case site == "" || strings.EqualFold(c.Service, site) || c.PrimaryKey() == site:
			exact = append(exact, c)
		case strings.Contains(strings.ToLower(c.Service+" "+c.Title), site):
			loose = append(loose, c)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return loose
}

func (a *app) passwordGet() *cobra.Command {
	var user, field string
	c := &cobra.Command{
		Use: "get SITE", Short: "Show a login", Args: exactly(1),
		Example: "  mesh password get example.com --field password",
		RunE: func(_ *cobra.Command, args []string) error {
			return a.view(containerCredential, func(c *client.Catalog) error {
				found, err := a.findLogin(c, args[0], user)
				if err != nil {
					return err
				}
				return a.emitLogin(found, field)
			})
		},
	}
	c.Flags().StringVar(&user, "user", "", "user name, when the site has several logins")
	c.Flags().StringVar(&field, "field", "", "only this: password, username, totp, notes, or the name of a field")
	return c
}

// findLogin returns the one login that is meant.
func (a *app) findLogin(c *client.Catalog, site, user string) (mesh.CatalogedCredential, error) {
	all, err := decode[mesh.CatalogedCredential](c)
	if err != nil {
		return mesh.CatalogedCredential{}, err
	}
	found := matching(all, site, user)
	switch {
	case len(found) == 0:
		return mesh.CatalogedCredential{}, notFoundf("no login for %q; `mesh password list` shows all", site)
	case len(found) > 1:
		var names []string
		for _, f := range found {
			names = append(names, fmt.Sprintf("%s (%s)", f.PrimaryKey(), f.Title))
		}
		return mesh.CatalogedCredential{}, usagef("%q has %d logins, say which with --user or its key:\n  %s", site, len(found), strings.Join(names, "\n  "))
	}
	return found[0], nil
}

func (a *app) emitLogin(c mesh.CatalogedCredential, field string) error {
	out := loginOutput{Key: c.PrimaryKey(), Service: c.Service, Username: c.Username, Title: c.Title, Folder: c.Folder, URIs: c.URIs, Password: c.Password, TOTP: c.TOTP, Notes: c.Notes}
	values := map[string]string{"password": c.Password, "username": c.Username, "totp": c.TOTP, "notes": c.Notes}
	for _, f := range c.Fields {
		if out.Fields == nil {
			out.Fields = map[string]string{}
		}
		out.Fields[f.Key] = f.Value
		if _, ok := values[f.Key]; !ok {
			values[f.Key] = f.Value
		}
	}
	if field != "" {
		v, ok := values[field]
		if !ok {
			return notFoundf("%s has no field %q", out.Key, field)
		}
		if a.output == "json" {
			return a.emit(map[string]string{field: v}, nil)
		}
		_, err := fmt.Fprintln(a.Out, v) // for another program, character by character
		return err
	}
	return a.emit(out, func(w io.Writer) {
		fmt.Fprintf(w, "site\t%s\nuser\t%s\npassword\t%s\n", out.Service, out.Username, out.Password)
		for _, row := range [][2]string{{"title", out.Title}, {"folder", out.Folder}, {"totp", out.TOTP}, {"notes", out.Notes}} {
			if row[1] != "" {
				fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
			}
		}
		for _, u := range out.URIs {
			fmt.Fprintf(w, "uri\t%s\n", u)
		}
		for _, f := range c.Fields {
			fmt.Fprintf(w, "%s\t%s\n", f.Key, f.Value)
		}
	})
}

func (a *app) passwordList() *cobra.Command {
	return &cobra.Command{
		Use: "list [SITE]", Short: "Logins, without their passwords", Args: between(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			site := strings.Join(args, "")
			return a.view(containerCredential, func(c *client.Catalog) error {
				all, err := decode[mesh.CatalogedCredential](c)
				if err != nil {
					return err
				}
				out := []loginOutput{}
				for _, c := range matching(all, site, "") {
					out = append(out, loginOutput{Key: c.PrimaryKey(), Service: c.Service, Username: c.Username, Title: c.Title, Folder: c.Folder})
				}
				return a.emit(out, func(w io.Writer) {
					fmt.Fprintln(w, "SITE\tUSER\tTITLE\tFOLDER")
					for _, l := range out {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.Service, l.Username, l.Title, l.Folder)
					}
				})
			})
		},
	}
}

func (a *app) passwordDelete() *cobra.Command {
	var user string
	c := &cobra.Command{
		Use: "delete SITE", Short: "Delete a login", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeOne(cmd.Context(), containerCredential, "deleted", func(c *client.Catalog) (string, error) {
				found, err := a.findLogin(c, args[0], user)
				if err != nil {
					return "", err
				}
				_, err = c.Delete(found.PrimaryKey())
				return found.PrimaryKey(), err
			})
		},
	}
	c.Flags().StringVar(&user, "user", "", "user name, when the site has several logins")
	return c
}

func (a *app) passwordImport() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "import FILE", Short: "Take logins from a Bitwarden JSON export", Args: exactly(1),
		Long: `Takes the logins of an unencrypted Bitwarden JSON export ("-" reads standard input). What is not a login is named and
left out. Importing the same file again changes nothing.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "bitwarden" {
				return usagef("--format %q: bitwarden", format)
			}
			return importFile(cmd.Context(), a, args[0], containerCredential, "logins", formats.ReadBitwarden)
		},
	}
	c.Flags().StringVar(&format, "format", "bitwarden", "format of the file")
	return c
}

func (a *app) passwordExport() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "export FILE", Short: "Write logins as Bitwarden JSON, unencrypted", Args: exactly(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if format != "bitwarden" {
				return usagef("--format %q: bitwarden", format)
			}
			return a.view(containerCredential, func(c *client.Catalog) error {
				all, err := decode[mesh.CatalogedCredential](c)
				if err != nil {
					return err
				}
				data, err := formats.WriteBitwarden(all)
				if err != nil {
					return err
				}
				if err := a.writeOutput(args[0], data); err != nil {
					return err
				}
				a.remark("%d logins, readable for whoever reads the file: delete it when it has done its work", len(all))
				return nil
			})
		},
	}
	c.Flags().StringVar(&format, "format", "bitwarden", "format of the file")
	return c
}

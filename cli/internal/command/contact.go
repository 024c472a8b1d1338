package command

import (
	"fmt"
	"io"
	"strings"

	"github.com/mathmesh/meshd/cli/internal/formats"
	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/spf13/cobra"
)

const containerContact = "mmm_Contact"

func (a *app) contactCommand() *cobra.Command {
	return group("contact", "Contacts: request, accept, reject, self, add, get, list, delete, import, export",
		a.contactRequest(), a.contactAccept(), a.contactReject(), a.contactSelf(), a.contactAdd(), a.contactGet(), a.contactList(), a.contactDelete(), a.contactImport(), a.contactExport())
}

type contactOutput struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Self      bool     `json:"self,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Rights    []string `json:"rights,omitempty"`
}

func describe(c mesh.CatalogedContact) contactOutput {
	out := contactOutput{ID: c.Key, Self: c.Self != nil && *c.Self}
	for _, p := range c.Permissions {
		out.Rights = append(out.Rights, p.Name)
	}
	if p, ok := formats.Person(c); ok {
		for _, n := range p.CommonNames {
			if out.Name == "" {
				out.Name = n.FullName
			}
		}
		for _, n := range p.NetworkAddresses {
			out.Addresses = append(out.Addresses, n.Address)
		}
	}
	return out
}

// findContact returns the one contact that is meant: by id, else by a part of name or address.
func findContact(c *client.Catalog, id string) (mesh.CatalogedContact, error) {
	all, err := decode[mesh.CatalogedContact](c)
	if err != nil {
		return mesh.CatalogedContact{}, err
	}
	var found []mesh.CatalogedContact
	for _, c := range all {
		d := describe(c)
		if d.ID == id {
			return c, nil
		}
		if strings.Contains(strings.ToLower(d.Name+"\n"+strings.Join(d.Addresses, "\n")), strings.ToLower(id)) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return mesh.CatalogedContact{}, notFoundf("no contact %q; `mesh contact list` shows all", id)
	case 1:
		return found[0], nil
	}
	var names []string
	for _, c := range found {
		names = append(names, c.Key+" ("+describe(c).Name+")")
	}
	return mesh.CatalogedContact{}, usagef("%q fits %d contacts, say which by its id:\n  %s", id, len(found), strings.Join(names, "\n  "))
}

func (a *app) contactAdd() *cobra.Command {
	return a.contactTake("add FILE", "Add a contact from a vCard file")
}

func (a *app) contactImport() *cobra.Command {
	return a.contactTake("import FILE", "Take contacts from vCard 3 or 4, photos and all")
}

func (a *app) contactTake(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return importFile(cmd.Context(), a, args[0], containerContact, "contacts", formats.ReadVCard)
		},
	}
}

func (a *app) contactGet() *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show a contact, by id or a part of its name or address", Args: exactly(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.view(containerContact, func(c *client.Catalog) error {
				found, err := findContact(c, args[0])
				if err != nil {
					return err
				}
				d := describe(found)
				return a.emit(d, func(w io.Writer) {
					fmt.Fprintf(w, "id\t%s\nname\t%s\n", d.ID, d.Name)
					for _, addr := range d.Addresses {
						fmt.Fprintf(w, "address\t%s\n", addr)
					}
					if len(d.Rights) > 0 {
						fmt.Fprintf(w, "may send\t%s\n", strings.Join(d.Rights, ", "))
					}
				})
			})
		},
	}
}

func (a *app) contactList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "All contacts", Args: exactly(0),
		RunE: func(*cobra.Command, []string) error {
			return a.view(containerContact, func(c *client.Catalog) error {
				all, err := decode[mesh.CatalogedContact](c)
				if err != nil {
					return err
				}
				out := []contactOutput{}
				for _, c := range all {
					out = append(out, describe(c))
				}
				return a.emit(out, func(w io.Writer) {
					fmt.Fprintln(w, "NAME\tADDRESSES\tID")
					for _, d := range out {
						name := d.Name
						if d.Self {
							name += " (you)"
						}
						fmt.Fprintf(w, "%s\t%s\t%s\n", name, strings.Join(d.Addresses, " "), d.ID)
					}
				})
			})
		},
	}
}

func (a *app) contactDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete ID", Short: "Delete a contact", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeOne(cmd.Context(), containerContact, "deleted", func(c *client.Catalog) (string, error) {
				found, err := findContact(c, args[0])
				if err != nil {
					return "", err
				}
				_, err = c.Delete(found.PrimaryKey())
				return found.Key, err
			})
		},
	}
}

var vcardVersions = map[string]string{"": "", "vcard3": "3.0", "vcard4": "4.0"}

func (a *app) contactExport() *cobra.Command {
	var id, format string
	c := &cobra.Command{
		Use: "export FILE", Short: "Write contacts as vCard; without --format each as it was imported", Args: exactly(1),
		RunE: func(_ *cobra.Command, args []string) error {
			version, ok := vcardVersions[format]
			if !ok {
				return usagef("--format %q: vcard3 or vcard4", format)
			}
			return a.view(containerContact, func(c *client.Catalog) error {
				var all []mesh.CatalogedContact
				if id != "" {
					one, err := findContact(c, id)
					if err != nil {
						return err
					}
					all = append(all, one)
				} else {
					every, err := decode[mesh.CatalogedContact](c)
					if err != nil {
						return err
					}
					for _, c := range every {
						if c.Self == nil || !*c.Self {
							all = append(all, c)
						}
					}
				}
				data, err := formats.WriteVCard(all, version)
				if err != nil {
					return err
				}
				return a.writeOutput(args[0], data)
			})
		},
	}
	c.Flags().StringVar(&id, "id", "", "only this contact")
	c.Flags().StringVar(&format, "format", "", "vcard3 or vcard4")
	return c
}

package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mathmesh/meshd/cli/internal/formats"
	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// view opens the account and one catalog for reading.
func (a *app) view(container string, f func(*client.Catalog) error) error {
	account, err := a.open()
	if err != nil {
		return err
	}
	defer account.Close()
	catalog, err := account.Catalog(container)
	if err != nil {
		return err
	}
	return f(catalog)
}

// change opens the account and one catalog, lets f queue changes, and synchronises; it says whether they reached the
// service. Changes are durable before the network is asked: without it they wait, and the command has done its work.
func (a *app) change(ctx context.Context, container string, f func(*client.Catalog) error) (synced bool, err error) {
	account, err := a.open()
	if err != nil {
		return false, err
	}
	defer account.Close()
	catalog, err := account.Catalog(container)
	if err != nil {
		return false, err
	}
	if err := f(catalog); err != nil {
		return false, err
	}
	if a.offline {
		a.remark("kept on this machine; `mesh account sync` sends it")
		return false, nil
	}
	err = a.sync(ctx, account)
	var network *client.NetworkError
	if errors.As(err, &network) {
		a.remark("kept on this machine, the service cannot be reached now (%v); `mesh account sync` sends it", network)
		return false, nil
	}
	return err == nil || isConflict(err), err
}

// changeOne is change for a command whose result is one entry.
func (a *app) changeOne(ctx context.Context, container, verb string, f func(*client.Catalog) (key string, err error)) error {
	var key string
	synced, err := a.change(ctx, container, func(c *client.Catalog) (err error) {
		key, err = f(c)
		return err
	})
	if err != nil {
		return err
	}
	return a.emit(map[string]any{"key": key, verb: true, "synced": synced}, func(w io.Writer) { fmt.Fprintf(w, "%s %s\n", verb, key) })
}

// importAll queues the entries that are new or differ, with one durable write.
func importAll(c *client.Catalog, entries []mesh.Entry) (imported, error) {
	var r imported
	have, err := c.Entries()
	if err != nil {
		return r, err
	}
	bodies := make(map[string]jbcd.Raw, len(have))
	for _, e := range have {
		bodies[e.Key] = e.Body
	}
	var put []mesh.Entry
	for _, entry := range entries {
		body, err := jbcd.Marshal(entry)
		if err != nil {
			return r, fmt.Errorf("%s: %w", entry.PrimaryKey(), err)
		}
		old, ok := bodies[entry.PrimaryKey()]
		switch {
		case !ok:
			r.Added++
		case bytes.Equal(old, body):
			r.Unchanged++
			continue
		default:
			r.Updated++
		}
		put = append(put, entry)
	}
	return r, c.Put(put...)
}

// importFile takes the entries of a file; read is of package formats.
func importFile[E any, P interface {
	*E
	mesh.Entry
}](ctx context.Context, a *app, file, container, what string, read func([]byte) ([]E, []formats.Skipped, error)) error {
	data, err := a.readInput(file)
	if err != nil {
		return err
	}
	found, skipped, err := read(data)
	if err != nil {
		return err
	}
	entries := make([]mesh.Entry, len(found))
	for i := range found {
		entries[i] = P(&found[i])
	}
	var result imported
	queued := false
	_, err = a.change(ctx, container, func(c *client.Catalog) (err error) {
		result, err = importAll(c, entries)
		queued = err == nil
		return err
	})
	if !queued {
		return err
	}
	// What was taken is on disk, whatever the service said.
	return errors.Join(err, a.emitImport(what, result, skipped))
}

// decode reads live entries of one kind.
func decode[T any](c *client.Catalog) ([]T, error) {
	entries, err := c.Entries()
	if err != nil {
		return nil, err
	}
	out := make([]T, len(entries))
	for i, e := range entries {
		if err := jbcd.Unmarshal(e.Body, &out[i]); err != nil {
			return nil, fmt.Errorf("entry %s: %w", e.Key, err)
		}
	}
	return out, nil
}

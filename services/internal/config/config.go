// Package config reads the one YAML file of a role: strict, at most fifteen fields, secrets as paths of files.
//
// An unknown field is an error that names the nearest one. MESHD_<FIELD> overrides a field that is one value.
// Nothing here changes while a role runs; what is re-read on change is data: secrets, certificates, the shard map
// (docs/design.md, Errors, context, logs, configuration).
package config

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// EnvPrefix of the overrides. Variables with this prefix that name no field are ignored: Kubernetes makes some for a
// Service called meshd.
const EnvPrefix = "MESHD_"

// checker is a configuration that knows what must be set.
type checker interface{ check() error }

// Load reads a role's file into c, a pointer to Gateway or Shard, applies the overrides of environ (os.Environ), and
// checks that it is complete.
func Load(path string, environ []string, c checker) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := parse(data, environ, c); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func parse(data []byte, environ []string, c checker) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return err
	}
	if len(doc.Content) > 0 {
		if err := known(doc.Content[0], reflect.TypeOf(c).Elem()); err != nil {
			return err
		}
		if err := doc.Decode(c); err != nil {
			return err
		}
	}
	if err := override(reflect.ValueOf(c).Elem(), environ); err != nil {
		return err
	}
	return c.check()
}

// known walks the document beside the type: a key that the type does not have is an error with line and nearest name.
func known(n *yaml.Node, t reflect.Type) error {
	switch {
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, item := range n.Content {
			if err := known(item, t.Elem()); err != nil {
				return err
			}
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		fields := make(map[string]reflect.Type)
		for i := range t.NumField() {
			fields[t.Field(i).Tag.Get("yaml")] = t.Field(i).Type
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			ft, ok := fields[key.Value]
			if !ok {
				return fmt.Errorf("line %d: unknown field %q; did you mean %q?", key.Line, key.Value, nearest(key.Value, fields))
			}
			if err := known(n.Content[i+1], ft); err != nil {
				return err
			}
		}
	}
	return nil
}

// override sets the single-valued fields from MESHD_<FIELD>.
func override(v reflect.Value, environ []string) error {
	for _, assignment := range environ {
		name, value, _ := strings.Cut(assignment, "=")
		field, ok := strings.CutPrefix(name, EnvPrefix)
		if !ok {
			continue
		}
		for i := range v.NumField() {
			if !strings.EqualFold(v.Type().Field(i).Tag.Get("yaml"), field) {
				continue
			}
			switch f := v.Field(i); f.Kind() {
			case reflect.String:
				f.SetString(value)
			case reflect.Int:
				n, err := strconv.Atoi(value)
				if err != nil {
					return fmt.Errorf("%s: %q is not a number", name, value)
				}
				f.SetInt(int64(n))
			case reflect.Bool:
				b, err := strconv.ParseBool(value)
				if err != nil {
					return fmt.Errorf("%s: %q is neither true nor false", name, value)
				}
				f.SetBool(b)
			default:
				return fmt.Errorf("%s: a list cannot come from the environment", name)
			}
		}
	}
	return nil
}

// nearest returns the field with the least edit distance, the first by name among equals.
func nearest[V any](word string, fields map[string]V) string {
	best, least := "", 1<<30
	for f := range fields {
		d := distance(word, f)
		if d < least || d == least && f < best {
			best, least = f, d
		}
	}
	return best
}

// distance is Levenshtein's, by octets.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// need reports the first of name, value pairs whose value is empty.
func need(pairs ...string) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			return fmt.Errorf("%s must be set", pairs[i])
		}
	}
	return nil
}

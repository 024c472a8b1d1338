package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// output writes what a command found, for people or for programs.
type output struct{ format string }

// table is what people see of a value.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

// write writes value as JSON, or t as text.
func (o *output) write(w io.Writer, value any, t *table) error {
	switch o.format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(value)
	case "table":
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		if len(t.head) > 0 {
			fmt.Fprintln(tw, strings.Join(t.head, "\t"))
		}
		for _, row := range t.rows {
			fmt.Fprintln(tw, strings.Join(row, "\t"))
		}
		return tw.Flush()
	}
	return usagef("-o %s: want table or json", o.format)
}

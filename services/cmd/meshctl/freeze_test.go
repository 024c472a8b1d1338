package main

import "testing"

func TestParseRange(t *testing.T) {
	for text, want := range map[string][2]uint16{"0": {0, 0}, "17": {17, 17}, "0-4095": {0, 4095}, "5-5": {5, 5}} {
		first, last, err := parseRange(text)
		if err != nil || first != want[0] || last != want[1] {
			t.Errorf("%s: %d-%d, %v", text, first, last, err)
		}
	}
	for _, text := range []string{"", "-", "a", "4096", "2-1", "0-4096", "-1", "1-", "1-2-3", "+1"} {
		if first, last, err := parseRange(text); err == nil {
			t.Errorf("%q is taken as %d-%d", text, first, last)
		}
	}
}

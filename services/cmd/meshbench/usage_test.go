package main

import (
	"os"
	"testing"
)

func TestParseStat(t *testing.T) {
	got, err := parseStat("4711 (a (strange) name) S 1 2 3 4 5 6 7 8 9 10 150 50 20 5 20 0 3 0 100 0 0")
	if err != nil || got != 2.25 {
		t.Errorf("%v s, %v, want 2.25 s", got, err)
	}
	for _, bad := range []string{"", "1 (x)", "1 (x) S 1 2", "1 (x) S 1 2 3 4 5 6 7 8 9 10 a b c d 1 1 1"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestOfThisProcess(t *testing.T) {
	if s, err := treeSeconds(os.Getpid()); err != nil || s < 0 || s > 3600 {
		t.Errorf("%v s, %v", s, err)
	}
	if m, err := rssAnon(os.Getpid()); err != nil || m < 0.1 || m > 4096 {
		t.Errorf("%v MiB, %v", m, err)
	}
}

func TestFigure(t *testing.T) {
	const text = "# TYPE go_memstats_mallocs_total counter\ngo_memstats_mallocs_total 345\nprocess_cpu_seconds_total 1.5e+01\n"
	for prefix, want := range map[string]float64{"go_memstats_mallocs_total ": 345, "process_cpu_seconds_total ": 15, "go_threads ": 0} {
		if got := figure(text, prefix); got != want {
			t.Errorf("%s%v, want %v", prefix, got, want)
		}
	}
}

func TestParsePgbench(t *testing.T) {
	const good = "transaction type: x\nnumber of transactions actually processed: 4124\nnumber of failed transactions: 0 (0.000%)\nlatency average = 2 ms\ntps = 4123.456 (without initial connection time)\n"
	if s, err := parsePgbench(good); err != nil || s.perSecond != 4123.456 || s.transactions != 4124 {
		t.Errorf("%v, %v", s, err)
	}
	for _, bad := range []string{"", "number of failed transactions: 3 (1%)\ntps = 1 (without initial connection time)\n"} {
		if _, err := parsePgbench(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

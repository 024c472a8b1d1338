package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// yardstick is a statement as the store sends it, for pgbench.
type yardstick struct {
	script    string            // file with the statement
	variables map[string]string // its arguments that stay the same
}

// pgbench runs a yardstick and returns transactions per second. One thread drives all clients: pgbench has next to nothing to
// do, and a second would only take the server's processor.
func pgbench(ctx context.Context, program, database string, y *yardstick, clients int, d time.Duration) (float64, error) {
	args := []string{"-n", "-M", "prepared", "-f", y.script, "-c", strconv.Itoa(clients), "-j", "1", "-T", strconv.Itoa(max(1, int(d.Seconds())))}
	for name, value := range y.variables {
		args = append(args, "-D", name+"="+value)
	}
	out, err := exec.CommandContext(ctx, program, append(args, database)...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	return parsePgbench(string(out))
}

// parsePgbench reads "tps = 1234.5 (without initial connection time)".
func parsePgbench(out string) (float64, error) {
	if m := regexp.MustCompile(`(?m)^number of failed transactions: (\d+)`).FindStringSubmatch(out); m != nil && m[1] != "0" {
		return 0, fmt.Errorf("pgbench: %s transactions failed", m[1])
	}
	m := regexp.MustCompile(`(?m)^tps = ([0-9.]+) \(without`).FindStringSubmatch(out)
	if m == nil {
		return 0, errors.New("pgbench: no tps in what it said")
	}
	return strconv.ParseFloat(m[1], 64)
}

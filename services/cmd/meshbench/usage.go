package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what processes spent since they started: of all counters only differences mean something.
type usage struct {
	processor   float64 // seconds, user and system
	allocations float64 // objects
	octets      float64 // allocated
}

func (u usage) minus(v usage) usage {
	return usage{u.processor - v.processor, u.allocations - v.allocations, u.octets - v.octets}
}

// ticks per second of /proc: USER_HZ, 100 on every Linux that Go runs on.
const ticks = 100

// processorSeconds reads what a process and those of its children that have ended spent.
func processorSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(text))
}

// parseStat reads fields 14–17 of /proc/PID/stat: utime, stime, cutime, cstime. The name, in parentheses, may hold spaces.
func parseStat(text string) (float64, error) {
	_, rest, ok := strings.Cut(text[strings.LastIndexByte(text, ')')+1:], " ")
	fields := strings.Fields(rest) // from field 3 on
	if !ok || len(fields) < 15 {
		return 0, errors.New("/proc/PID/stat: too few fields")
	}
	var sum float64
	for _, f := range fields[11:15] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		sum += n
	}
	return sum / ticks, nil
}

// treeSeconds is processorSeconds of a process and all its living children: a PostgreSQL server with its backends.
func treeSeconds(pid int) (float64, error) {
	sum, err := processorSeconds(pid)
	if err != nil {
		return 0, err
	}
	for _, child := range children(pid) {
		if s, err := processorSeconds(child); err == nil { // it may have ended: then its parent has its time
			sum += s
		}
	}
	return sum, nil
}

// children lists the processes whose parent is pid.
func children(pid int) []int {
	var list []int
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(f); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// rssAnon is the memory of a process that is nobody else's, in MiB.
func rssAnon(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, "RssAnon:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		return kib / 1024, err
	}
	return 0, errors.New("/proc/PID/status: no RssAnon")
}

// runtimeUsage asks an admin listener for the counters of its process, which are among its metrics.
func runtimeUsage(ctx context.Context, admin string) (usage, error) {
	text, err := get(ctx, "http://"+admin+"/metrics")
	if err != nil {
		return usage{}, err
	}
	return usage{
		allocations: figure(string(text), "go_memstats_mallocs_total "),
		octets:      figure(string(text), "go_memstats_alloc_bytes_total "),
		processor:   figure(string(text), "process_cpu_seconds_total "),
	}, nil
}

// figure finds the number behind a prefix at the beginning of a line; 0 when there is none.
func figure(text, prefix string) float64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// get fetches from an admin listener.
func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // a profile takes as long as it was asked to
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, res.Status)
	}
	return io.ReadAll(res.Body)
}

package config

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const gateway = `
listen: ":443"
admin_listen: ":9090"
services:
  - domain: alpha.example
    provider_dir: /etc/meshd/alpha
    tls_cert_file: /etc/meshd/tls.crt
    tls_key_file: /etc/meshd/tls.key
    ring_file: /etc/meshd/ring.json
shard_map_file: /etc/meshd/map.yaml
cert_file: /pki/gateway.pem
key_file: /pki/gateway-key.pem
ca_file: /pki/ca.pem
`

const shardFile = `
name: s00
listen: ":7001"
store: postgres
database_file: /secrets/database-url
services: [{domain: alpha.example, provider_dir: /etc/meshd/alpha}]
cert_file: /pki/shard.pem
key_file: /pki/shard-key.pem
ca_file: /pki/ca.pem
`

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(path, []byte(gateway), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"MESHD_LOG_LEVEL=debug", "MESHD_LISTEN=:8443", "MESHD_PORT=tcp://10.0.0.1:80", "PATH=/bin"}
	var got Gateway
	if err := Load(path, env, &got); err != nil {
		t.Fatal(err)
	}
	want := Gateway{
		Listen: ":8443", AdminListen: ":9090", LogLevel: "debug",
		Services: []Service{{
			Domain: "alpha.example", ProviderDir: "/etc/meshd/alpha", TLSCertFile: "/etc/meshd/tls.crt",
			TLSKeyFile: "/etc/meshd/tls.key", RingFile: "/etc/meshd/ring.json", Policy: "open",
		}},
		ShardMapFile: "/etc/meshd/map.yaml", CertFile: "/pki/gateway.pem", KeyFile: "/pki/gateway-key.pem", CAFile: "/pki/ca.pem",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := Load(path+".not", nil, &got); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		env  []string
		into checker
		want string
	}{
		"misspelt":            {gateway + "lisen: x\n", nil, &Gateway{}, `line 14: unknown field "lisen"; did you mean "listen"?`},
		"misspelt inside":     {strings.Replace(gateway, "ring_file", "ringfile", 1), nil, &Gateway{}, `did you mean "ring_file"?`},
		"missing":             {strings.Replace(gateway, "ca_file: /pki/ca.pem", "", 1), nil, &Gateway{}, "ca_file must be set"},
		"missing inside":      {strings.Replace(gateway, "ring_file: /etc/meshd/ring.json", "", 1), nil, &Gateway{}, "services[0]: ring_file must be set"},
		"emptied by override": {gateway, []string{"MESHD_LISTEN="}, &Gateway{}, "listen must be set"},
		"list by override":    {gateway, []string{"MESHD_SERVICES=x"}, &Gateway{}, "a list cannot come from the environment"},
		"wrong type":          {strings.Replace(gateway, `listen: ":443"`, "listen: [1]", 1), nil, &Gateway{}, "cannot unmarshal"},
		"unknown policy":      {strings.Replace(gateway, "    ring_file:", "    policy: friends\n    ring_file:", 1), nil, &Gateway{}, `policy "friends"`},
		"manual without URL":  {strings.Replace(gateway, "    ring_file:", "    policy: manual\n    ring_file:", 1), nil, &Gateway{}, "approval_url"},
		"twice":               {gateway + "listen: x\n", nil, &Gateway{}, "already"},
		"empty":               {"", nil, &Gateway{}, "listen must be set"},
		"unknown store":       {strings.Replace(shardFile, "postgres", "oracle", 1), nil, &Shard{}, `store "oracle"`},
		"no services":         {strings.Replace(shardFile, "services: [{domain: alpha.example, provider_dir: /etc/meshd/alpha}]", "", 1), nil, &Shard{}, "services"},
	} {
		err := parse([]byte(c.data), c.env, c.into)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	if err := parse([]byte(shardFile), nil, &Shard{}); err != nil {
		t.Errorf("the good file is refused: %v", err)
	}
}

// A role has at most fifteen fields, and each has a name of its own.
func TestFifteenFields(t *testing.T) {
	for _, c := range []any{Gateway{}, Service{}, Shard{}, ShardKeys{}} {
		typ := reflect.TypeOf(c)
		if typ.NumField() > 15 {
			t.Errorf("%v has %d fields", typ, typ.NumField())
		}
		seen := make(map[string]bool)
		for i := range typ.NumField() {
			tag := typ.Field(i).Tag.Get("yaml")
			if tag == "" || seen[tag] {
				t.Errorf("%v.%s: yaml tag %q is empty or taken", typ, typ.Field(i).Name, tag)
			}
			seen[tag] = true
		}
	}
}

func TestWatched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	put := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parse := func(b []byte) (string, error) {
		if len(b) == 0 {
			return "", errors.New("empty")
		}
		return string(b), nil
	}
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	if _, err := Watch(path, logger, parse); err == nil {
		t.Fatal("watched a file that is not there")
	}
	put("one")
	w, err := Watch(path, logger, parse)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	w.now = func() time.Time { return now }
	want := func(what, value string) {
		t.Helper()
		if got := w.Get(); got != value {
			t.Errorf("%s: %q, want %q", what, got, value)
		}
	}
	want("first", "one")
	put("second")
	want("within a second", "one")
	now = now.Add(statInterval)
	want("after a second", "second")
	put("")
	now = now.Add(statInterval)
	want("unreadable", "second")
	now = now.Add(statInterval)
	want("still", "second")
	if n := strings.Count(log.String(), "empty"); n != 1 {
		t.Errorf("the fault was logged %d times", n)
	}
	put("third one")
	now = now.Add(statInterval)
	want("repaired", "third one")
}

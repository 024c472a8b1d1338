package stack

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
)

// State is the file that tells tools where a running `meshd dev` is (docs/design.md, Contracts).
type State struct {
	Providers []ProviderState `json:"providers"`
	DNS       string          `json:"dns"`
	Control   string          `json:"control"` // for `meshctl dev stop|start`
	PID       int             `json:"pid"`
}

// ProviderState is one provider in State.
type ProviderState struct {
	Domain            string   `json:"domain"`
	Endpoint          string   `json:"endpoint"`
	CleartextEndpoint string   `json:"cleartext_endpoint"`
	CAFile            string   `json:"ca_file"`
	DirectEndpoints   []string `json:"direct_endpoints,omitempty"`
	Admin             string   `json:"admin"`
	Metrics           string   `json:"metrics"`

	// For operators' tools: what `meshctl` needs to ask the shards of this provider.
	Provider string       `json:"provider_dir"`
	ShardMap string       `json:"shard_map_file"`
	PKI      string       `json:"pki_dir"`
	Shards   []ShardState `json:"shards"`
}

// ShardState is one shard in State.
type ShardState struct {
	Name     string `json:"name"`
	Target   string `json:"target"`
	Database string `json:"database"` // path of the SQLite file, or PostgreSQL URL
}

// Write makes the file appear whole: a tool that waits for it never reads half.
func (s *State) Write(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(data, '\n'))
}

// replaceFile makes a file appear whole, or not at all.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// ReadState reads what Write wrote.
func ReadState(path string) (*State, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := new(State)
	return s, json.Unmarshal(data, s)
}

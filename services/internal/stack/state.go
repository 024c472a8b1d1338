package stack

import (
	"encoding/json"
	"os"

	"github.com/mathmesh/meshd/services/internal/config"
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
	return config.ReplaceFile(path, append(data, '\n'), 0o600) // a database URL may hold a password
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

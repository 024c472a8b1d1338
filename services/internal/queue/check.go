package queue

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// stampKey in a stream's metadata: when servers and streams were found to be as they must be. A role's user cannot ask the servers.
	stampKey = "meshd.checked"
	// varzMax octets of a monitoring page.
	varzMax = 1 << 20
	// monitoringTime for one page of one server.
	monitoringTime = 5 * time.Second
)

// CheckOptions say what to compare with.
type CheckOptions struct {
	Replicas   int
	Monitoring []string    // URLs of the servers' monitoring listeners, every address of a name is asked; empty: no stamp
	TLS        *tls.Config // of https URLs
}

// Report is what Check found.
type Report struct {
	Streams     []StreamReport `json:"streams"`
	Servers     []ServerReport `json:"servers"`
	Differences []string       `json:"differences"`
	Stamped     bool           `json:"stamped"`
}

// StreamReport is the state of a stream.
type StreamReport struct {
	Name     string    `json:"name"`
	Messages uint64    `json:"messages"`
	Octets   uint64    `json:"octets"`
	Oldest   time.Time `json:"oldest,omitzero"`
	Leader   string    `json:"leader"`
	Checked  string    `json:"checked"` // the stamp that was there
}

// ServerReport is what a server says of itself.
type ServerReport struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Version    string `json:"version"`
	SyncAlways bool   `json:"sync_always"`
}

// Check compares streams, consumers and servers with what they must be, and names each difference. Without one, and when it was given
// the monitoring of every server, it stamps the streams: in production a role is not ready without. A stamp that is there stays when
// a later check finds something: stopping everything would help nobody. The Conn is meshctl's.
func (c *Conn) Check(ctx context.Context, o CheckOptions) (*Report, error) {
	if err := c.Connected(ctx); err != nil {
		return nil, err
	}
	r := &Report{Streams: []StreamReport{}, Servers: []ServerReport{}, Differences: []string{}}
	hosts := make(map[string]bool) // servers that hold something
	var found []jetstream.StreamConfig
	for _, d := range table(o.Replicas) {
		info, err := c.checkStream(ctx, d, r)
		if err != nil {
			return nil, fmt.Errorf("queue: %s: %w", d.stream.Name, err)
		}
		if info == nil {
			continue
		}
		found = append(found, info.Config)
		if info.Cluster != nil {
			hosts[info.Cluster.Leader] = true
			for _, p := range info.Cluster.Replicas {
				hosts[p.Name] = true
			}
		}
	}
	if err := c.checkNames(ctx, r); err != nil {
		return nil, fmt.Errorf("queue: streams: %w", err)
	}
	if len(o.Monitoring) == 0 {
		return r, nil
	}
	if err := c.checkServers(ctx, o, hosts, r); err != nil {
		return nil, err
	}
	if len(r.Differences) > 0 {
		return r, nil
	}
	stamp := fmt.Sprintf("%s sync_interval=always servers=%d replicas=%d", time.Now().UTC().Format(time.RFC3339), len(r.Servers), o.Replicas)
	for _, config := range found {
		config.Metadata = maps.Clone(config.Metadata)
		if config.Metadata == nil {
			config.Metadata = make(map[string]string)
		}
		config.Metadata[stampKey] = stamp
		if _, err := c.js.UpdateStream(ctx, config); err != nil {
			return nil, fmt.Errorf("queue: stamp of %s: %w", config.Name, err)
		}
	}
	r.Stamped = true
	return r, nil
}

func (r *Report) differ(format string, args ...any) {
	r.Differences = append(r.Differences, fmt.Sprintf(format, args...))
}

// checkStream returns nil for a stream that is absent.
func (c *Conn) checkStream(ctx context.Context, d definition, r *Report) (*jetstream.StreamInfo, error) {
	name := d.stream.Name
	s, err := c.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		r.differ("stream %s is absent", name)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info := s.CachedInfo()
	for _, diff := range differences(d.stream, info.Config) {
		r.differ("stream %s: %s", name, diff)
	}
	report := StreamReport{Name: name, Messages: info.State.Msgs, Octets: info.State.Bytes, Oldest: info.State.FirstTime, Checked: info.Config.Metadata[stampKey]}
	if info.State.Msgs == 0 {
		report.Oldest = time.Time{}
	}
	if info.Cluster != nil {
		report.Leader = info.Cluster.Leader
		for _, p := range info.Cluster.Replicas {
			if p.Offline || !p.Current {
				r.differ("stream %s: the replica on %s is behind or offline", name, p.Name)
			}
		}
	}
	r.Streams = append(r.Streams, report)
	return info, c.checkConsumers(ctx, s, d.consumer, r)
}

func (c *Conn) checkConsumers(ctx context.Context, s jetstream.Stream, want *jetstream.ConsumerConfig, r *Report) error {
	name := s.CachedInfo().Config.Name
	seen := false
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		if want == nil || info.Name != want.Durable {
			r.differ("stream %s has a consumer %s that is none of ours", name, info.Name)
			continue
		}
		seen = true
		for _, diff := range differences(*want, info.Config) {
			r.differ("consumer %s/%s: %s", name, info.Name, diff)
		}
	}
	if want != nil && !seen {
		r.differ("consumer %s/%s is absent", name, want.Durable)
	}
	return list.Err()
}

// checkNames finds streams that take what is ours: only a stream of ours may store mesh.> at all.
func (c *Conn) checkNames(ctx context.Context, r *Report) error {
	list := c.js.StreamNames(ctx)
	for name := range list.Name() {
		if !slices.ContainsFunc(table(1), func(d definition) bool { return d.stream.Name == name }) {
			r.differ("stream %s is none of ours", name)
		}
	}
	return list.Err()
}

// varz is what we read of a server's /varz.
type varz struct {
	ID           string `json:"server_id"`
	Name         string `json:"server_name"`
	Version      string `json:"version"`
	AuthRequired bool   `json:"auth_required"`
	TLSRequired  bool   `json:"tls_required"`
	TLSVerify    bool   `json:"tls_verify"`
	MaxPayload   int    `json:"max_payload"`
	JetStream    struct {
		Config *struct {
			SyncAlways bool  `json:"sync_always"`
			MaxStore   int64 `json:"max_storage"`
		} `json:"config"`
		Meta *struct {
			Size int `json:"cluster_size"`
		} `json:"meta"`
	} `json:"jetstream"`
}

// checkServers asks every server, and makes sure that it was every one.
func (c *Conn) checkServers(ctx context.Context, o CheckOptions, hosts map[string]bool, r *Report) error {
	servers := make(map[string]varz)
	for _, address := range o.Monitoring {
		pages, err := readVarz(ctx, address, o.TLS)
		if err != nil {
			return fmt.Errorf("queue: monitoring %s: %w", address, err)
		}
		for _, v := range pages {
			servers[v.ID] = v
		}
	}
	names := make(map[string]bool)
	size := 1
	for _, id := range slices.Sorted(maps.Keys(servers)) {
		v := servers[id]
		names[v.Name] = true
		server := ServerReport{Name: v.Name, ID: v.ID, Version: v.Version}
		switch {
		case v.JetStream.Config == nil:
			r.differ("server %s has no JetStream", v.Name)
		case !v.JetStream.Config.SyncAlways:
			r.differ("server %s: sync_interval is not always", v.Name)
		default:
			server.SyncAlways = true
		}
		if v.JetStream.Config != nil && v.JetStream.Config.MaxStore < StoreOctets {
			r.differ("server %s: max_file_store is %d, want at least %d", v.Name, v.JetStream.Config.MaxStore, int64(StoreOctets))
		}
		if !v.TLSRequired || !v.TLSVerify || !v.AuthRequired {
			r.differ("server %s does not ask every client for a certificate", v.Name)
		}
		if v.MaxPayload < MaxMessage {
			r.differ("server %s: max_payload is %d, want at least %d", v.Name, v.MaxPayload, MaxMessage)
		}
		if v.JetStream.Meta != nil {
			size = max(size, v.JetStream.Meta.Size)
		}
		r.Servers = append(r.Servers, server)
	}
	if len(servers) < size {
		r.differ("the cluster has %d servers, the monitoring of %d was given", size, len(servers))
	}
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		if host != "" && !names[host] {
			r.differ("server %s holds a stream, its monitoring was not given", host)
		}
	}
	if _, ok := servers[c.nc.ConnectedServerId()]; !ok {
		r.differ("server %s, which answers us, is not among those of the monitoring", c.nc.ConnectedServerName())
	}
	return nil
}

// readVarz asks every address of the URL's host: the name of a service stands for all servers.
func readVarz(ctx context.Context, address string, config *tls.Config) ([]varz, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, errors.New("want http://host:port")
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = u.Scheme // names of services are names of ports
	}
	var pages []varz
	for _, ip := range ips {
		v, err := readOne(ctx, u.JoinPath("varz").String(), net.JoinHostPort(ip, port), config)
		if err != nil {
			return nil, err
		}
		pages = append(pages, v)
	}
	return pages, nil
}

func readOne(ctx context.Context, page, at string, config *tls.Config) (v varz, err error) {
	ctx, cancel := context.WithTimeout(ctx, monitoringTime)
	defer cancel()
	transport := &http.Transport{
		TLSClientConfig:   config,
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, at)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return v, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return v, fmt.Errorf("%s: %s", at, resp.Status)
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, varzMax)).Decode(&v)
	if err == nil && v.ID == "" {
		err = errors.New("not the monitoring of a NATS server")
	}
	return v, err
}

// stamped says whether a stream carries the stamp.
func (c *Conn) stamped(ctx context.Context, s Stream) error {
	stream, err := c.js.Stream(ctx, string(s))
	if err != nil {
		return fmt.Errorf("queue: %s: %w", s, err)
	}
	if stream.CachedInfo().Config.Metadata[stampKey] == "" {
		return fmt.Errorf("queue: %s has not been checked: run meshctl streams check --monitoring", s)
	}
	return nil
}

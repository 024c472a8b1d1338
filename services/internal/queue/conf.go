package queue

import (
	"fmt"
	"strings"
)

// MaxPayload of a server: well over MaxMessage, and what NATS takes by default.
const MaxPayload = 1 << 20

// StoreOctets that a server must give to JetStream, for every stream at its fullest.
const StoreOctets = 2*workOctets + deadOctets + 256<<20

// Conf says how a production server differs from another.
type Conf struct {
	Name       string   // server_name; a variable like $HOSTNAME is taken from the environment of nats-server
	Listen     string   // host:port for roles
	Monitoring string   // host:port of the monitoring listener, for `meshctl streams check`
	Store      string   // folder of the streams, on a disk that survives
	Cert       string   // certificate with the DNS name nats.mesh.internal
	Key        string   // its key
	CA         string   // internal CA of the roles
	Cluster    string   // host:port for other servers; empty: a single server
	Routes     []string // host:port of the others
}

// Text is the nats-server.conf.
func (c Conf) Text() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	tls := func(indent string) {
		p("%stls {", indent)
		p("%s  cert_file: %q", indent, c.Cert)
		p("%s  key_file: %q", indent, c.Key)
		p("%s  ca_file: %q", indent, c.CA)
		p("%s  min_version: \"1.3\"", indent)
		p("%s  verify_and_map: true # the certificate is the user", indent)
		p("%s  timeout: 5", indent)
		p("%s}", indent)
	}
	p("# nats-server.conf, made by `meshctl streams conf`. Do not edit: make it again with each new version of meshd.")
	p("server_name: %s", word(c.Name))
	p("listen: %q", c.Listen)
	p("http: %q # tells what nobody but operators should read: keep it inside", c.Monitoring)
	p("max_payload: %d", MaxPayload)
	tls("")
	p("jetstream {")
	p("  store_dir: %q", c.Store)
	p("  max_memory_store: 0")
	p("  max_file_store: %d", StoreOctets)
	p("  sync_interval: always # what is acknowledged is on disk")
	p("}")
	if c.Cluster != "" {
		p("cluster {")
		p("  name: \"mesh\"")
		p("  listen: %q", c.Cluster)
		p("  authorization { user: %q } # a role's certificate opens no route", ServerUser)
		tls("  ")
		p("  routes: [")
		for _, r := range c.Routes {
			p("    %q", "nats-route://"+r)
		}
		p("  ]")
		p("}")
	}
	p("authorization {")
	p("  users: [")
	for _, u := range Users() {
		p("    {")
		p("      user: %q", u.Name)
		p("      permissions: {")
		p("        publish: {allow: [%s]}", quoted(u.Publish))
		p("        subscribe: {allow: [%s]}", quoted(u.Subscribe))
		p("      }")
		p("    }")
	}
	p("  ]")
	p("}")
	return b.String()
}

// word leaves a variable to nats-server, and quotes everything else.
func word(s string) string {
	if strings.HasPrefix(s, "$") {
		return s
	}
	return fmt.Sprintf("%q", s)
}

func quoted(list []string) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(words, ", ")
}

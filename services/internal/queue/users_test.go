package queue_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

// servers runs a test against both ways to a server: the embedded one, and nats-server with the file that `meshctl streams conf` prints.
func servers(t *testing.T, test func(t *testing.T, ca *rpc.CA, url string)) {
	t.Run("embedded", func(t *testing.T) {
		b := newBed(t)
		b.streams(t)
		test(t, b.ca, b.server.URL())
	})
	t.Run("conf", func(t *testing.T) {
		ca, url := fromConf(t)
		admin := dial(t, queue.Options{Servers: []string{url}, TLS: clientTLS(t, ca, rpc.Meshctl), Role: "meshctl"})
		if _, err := admin.Apply(limit(t), 1); err != nil {
			t.Fatal(err)
		}
		test(t, ca, url)
	})
}

// fromConf starts a server from the text that an operator gets.
func fromConf(t *testing.T) (*rpc.CA, string) {
	t.Helper()
	dir := t.TempDir()
	if err := rpc.WriteQueuePKI(dir, []string{"127.0.0.1", "nats-0.nats"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	ca, err := rpc.OpenCA(dir, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	t.Setenv("TEST_SERVER_NAME", "nats-0")
	text := queue.Conf{
		Name: "$TEST_SERVER_NAME", Listen: meshtest.FreeAddress(t), Monitoring: meshtest.FreeAddress(t), Store: file("store"),
		Cert: file("nats.pem"), Key: file("nats-key.pem"), CA: file("ca.pem"),
	}.Text()
	if err := os.WriteFile(file("nats.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file("nats.conf"))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if !opts.SyncAlways || opts.ServerName != "nats-0" {
		t.Errorf("sync always %v, name %q", opts.SyncAlways, opts.ServerName)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("not ready")
	}
	return ca, "tls://" + s.Addr().String()
}

// Who the server refuses before anything is said.
func TestStrangers(t *testing.T) {
	servers(t, func(t *testing.T, ca *rpc.CA, url string) {
		foreign, err := rpc.NewCA("foreign", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		try := func(name string, config *tls.Config, more ...nats.Option) {
			t.Helper()
			// That it is the server who refuses: this client believes whatever server it meets.
			config.InsecureSkipVerify, config.VerifyConnection = true, nil
			nc, err := nats.Connect(url, append(more, nats.Secure(config), nats.Timeout(5*time.Second))...)
			if err == nil {
				nc.Close()
				t.Errorf("%s: connected", name)
			} else if !strings.Contains(err.Error(), "remote error: tls") && !strings.Contains(err.Error(), "closed by remote") && !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("%s: refused otherwise than expected: %v", name, err)
			}
		}
		good := clientTLS(t, ca, rpc.Gateway)
		good.InsecureSkipVerify, good.VerifyConnection = true, nil
		nc, err := nats.Connect(url, nats.Secure(good))
		if err != nil {
			t.Fatalf("the right certificate: %v", err)
		}
		nc.Close()

		for _, role := range rpc.Roles() {
			try("foreign CA, "+string(role), clientTLS(t, foreign, role))
		}
		try("no certificate", &tls.Config{})
		try("no certificate, a user's name", &tls.Config{}, nats.UserInfo("mesh://role/meshctl", ""))
		for name, issue := range map[string]func() ([]byte, []byte, error){
			"a server of the queue": func() ([]byte, []byte, error) { return ca.IssueQueue(nil, time.Now()) },
			"a role that is none":   func() ([]byte, []byte, error) { return ca.IssueRole("root", time.Now()) },
		} {
			certPEM, keyPEM, err := issue()
			if err != nil {
				t.Fatal(err)
			}
			cert, err := tls.X509KeyPair(certPEM, keyPEM)
			if err != nil {
				t.Fatal(err)
			}
			try(name, &tls.Config{Certificates: []tls.Certificate{cert}})
		}
		plaintext(t, strings.TrimPrefix(url, "tls://"))
	})
}

// plaintext speaks the protocol without TLS.
func plaintext(t *testing.T, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "CONNECT {\"verbose\":true,\"user\":\"mesh://role/meshctl\"}\r\nPUB mesh.inbound 1\r\nx\r\nPING\r\n")
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, "+OK") || line == "PONG" {
			t.Errorf("plaintext is answered: %s", line)
		}
	}
}

// The table of who may do what, held by the server. Everything that is not allowed to a role is tried.
func TestPermissions(t *testing.T) {
	// Subjects, and the roles that may publish or subscribe to them.
	publish := map[string]string{
		"mesh.inbound":               "gateway shard",
		"mesh.outbound":              "shard",
		"mesh.hint.x":                "shard",
		"mesh.verdict.x":             "inbound",
		"mesh.dead.inbound":          "inbound",
		"mesh.dead.outbound":         "outbound",
		"mesh.dead.x":                "",
		"mesh.other":                 "",
		"other":                      "",
		"_INBOX.gateway.x":           "",
		"_INBOX.meshctl.x":           "",
		"$SYS.REQ.SERVER.PING":       "",
		"$JS.API.INFO":               "meshctl",
		"$JS.API.STREAM.INFO.DEAD":   "inbound outbound meshctl",
		"$JS.API.STREAM.LIST":        "meshctl",
		"$JS.API.STREAM.CREATE.X":    "meshctl",
		"$JS.API.STREAM.PURGE.DEAD":  "meshctl",
		"$JS.API.STREAM.DELETE.DEAD": "meshctl",

		"$JS.API.STREAM.INFO.INBOUND":                     "gateway shard inbound meshctl",
		"$JS.API.STREAM.INFO.OUTBOUND":                    "shard outbound meshctl",
		"$JS.API.STREAM.MSG.GET.INBOUND":                  "meshctl",
		"$JS.API.DIRECT.GET.INBOUND":                      "meshctl",
		"$JS.API.STREAM.MSG.DELETE.INBOUND":               "meshctl",
		"$JS.API.CONSUMER.CREATE.INBOUND":                 "meshctl",
		"$JS.API.CONSUMER.CREATE.INBOUND.x":               "meshctl",
		"$JS.API.CONSUMER.DELETE.INBOUND.inbound":         "meshctl",
		"$JS.API.CONSUMER.PAUSE.INBOUND.inbound":          "meshctl",
		"$JS.API.CONSUMER.INFO.INBOUND.inbound":           "inbound meshctl",
		"$JS.API.CONSUMER.MSG.NEXT.INBOUND.inbound":       "inbound meshctl",
		"$JS.API.CONSUMER.INFO.OUTBOUND.outbound":         "outbound meshctl",
		"$JS.API.CONSUMER.MSG.NEXT.OUTBOUND.outbound":     "outbound meshctl",
		"$JS.API.CONSUMER.MSG.NEXT.DEAD.inbound":          "meshctl",
		"$JS.ACK.INBOUND.inbound.1.1.1.1.0":               "inbound",
		"$JS.ACK._.hash.INBOUND.inbound.1.1.1.1.0":        "inbound",
		"$JS.ACK.OUTBOUND.outbound.1.1.1.1.0":             "outbound",
		"$JS.ACK._.hash.OUTBOUND.outbound.1.1.1.1.0":      "outbound",
		"$JS.ACK._.INBOUND.OUTBOUND.outbound.1.1.1.1.0":   "outbound",
		"$JS.ACK.OUTBOUND.outbound.INBOUND.inbound.1.1.1": "outbound inbound", // its own first or its own at the third place
	}
	subscribe := map[string]string{
		"mesh.verdict.x":        "gateway",
		"mesh.verdict.*":        "gateway",
		"mesh.hint.x":           "gateway",
		"mesh.verdict.>":        "gateway", // the server takes > for a token that * matches; nobody says more tokens
		"mesh.verdict.x.y":      "",
		"mesh.inbound":          "",
		"mesh.outbound":         "",
		"mesh.dead.inbound":     "",
		"mesh.>":                "",
		">":                     "",
		"_INBOX.>":              "",
		"_INBOX.*.x":            "",
		"$JS.>":                 "",
		"$JS.EVENT.ADVISORY.>":  "",
		"$JS.ACK.>":             "",
		"$SYS.>":                "",
		"_INBOX.gateway.x":      "gateway",
		"_INBOX.shard.x":        "shard",
		"_INBOX.inbound.x":      "inbound",
		"_INBOX.outbound.x":     "outbound",
		"_INBOX.meshctl.x":      "meshctl",
		"_INBOX.meshctlother.x": "",
	}
	servers(t, func(t *testing.T, ca *rpc.CA, url string) {
		for _, role := range rpc.Roles() {
			refused := make(chan error, 200)
			nc, err := nats.Connect(url, nats.Secure(clientTLS(t, ca, role)),
				nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			try := func(verb, subject, may string, say func() error) {
				t.Helper()
				if err := say(); err != nil {
					t.Fatal(err)
				}
				if err := nc.Flush(); err != nil { // its answer comes after that to the subject
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond) // handlers run beside
				var got error
				allowed := strings.Contains(" "+may+" ", " "+string(role)+" ")
				if !allowed {
					select {
					case got = <-refused:
					case <-time.After(2 * time.Second):
					}
				} else {
					select {
					case got = <-refused:
					default:
					}
				}
				if allowed != (got == nil) || got != nil && !errors.Is(got, nats.ErrPermissionViolation) {
					t.Errorf("%s may %s %s: %v; the server says %v", role, verb, subject, allowed, got)
				}
			}
			for subject, may := range publish {
				if may != "" && strings.Contains(may, "meshctl") && role == rpc.Meshctl && !strings.Contains(subject, "INFO") {
					continue // would be done
				}
				try("publish", subject, may, func() error { return nc.Publish(subject, nil) })
			}
			for subject, may := range subscribe {
				try("subscribe to", subject, may, func() error {
					_, err := nc.SubscribeSync(subject)
					return err
				})
			}
		}
	})
}

// A certificate of another role is that role's user, whatever its holder says it is.
func TestOtherRole(t *testing.T) {
	b := newBed(t)
	b.streams(t)
	o := b.options(t, rpc.Shard)
	o.TLS = clientTLS(t, b.ca, rpc.Outbound)
	c := dial(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := errors.Join(c.Publish(ctx, queue.Inbound, item("m"))...); err == nil {
		t.Error("outbound's certificate published as a shard")
	}
	if n := b.messages(t, queue.Inbound); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// A foreign server gets nothing from us: the client looks at its certificate too.
func TestForeignServer(t *testing.T) {
	b := newBed(t)
	foreign, err := rpc.NewCA("foreign", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	o := b.options(t, rpc.Shard)
	o.TLS = clientTLS(t, foreign, rpc.Shard)
	c := dial(t, o)
	eventually(t, "the reason is told", func() bool { err := c.Ready(); return err != nil && strings.Contains(err.Error(), "x509") })
	// Nor does a role's certificate make a server of the queue.
	id, err := b.ca.Identity(rpc.Gateway, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", roleServer(t, id))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = conn.(*tls.Conn).Handshake()
		}
		accepted <- err
	}()
	if conn, err := tls.Dial("tcp", l.Addr().String(), clientTLS(t, b.ca, rpc.Shard)); err == nil {
		conn.Close()
		t.Error("the gateway passes for the queue")
	}
	receive(t, accepted)
}

func roleServer(t *testing.T, id *rpc.Identity) *tls.Config {
	t.Helper()
	config := id.QueueClient()
	cert, err := config.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{*cert}}
}

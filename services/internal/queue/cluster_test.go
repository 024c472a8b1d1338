package queue_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

// nodeFile in the environment makes this test binary a NATS server of its own, which can be killed.
const nodeFile = "QUEUE_TEST_NATS_CONF"

func TestMain(m *testing.M) {
	file := os.Getenv(nodeFile)
	if file == "" {
		os.Exit(m.Run())
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		panic(err)
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
}

// cluster starts three processes from the file that `meshctl streams conf` prints.
func cluster(t *testing.T) (ca *rpc.CA, nodes []*exec.Cmd, urls, monitoring, routes []string) {
	t.Helper()
	dir := t.TempDir()
	if err := rpc.WriteQueuePKI(dir, []string{"127.0.0.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	ca, err := rpc.OpenCA(dir, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	for range 3 {
		urls, monitoring, routes = append(urls, meshtest.FreeAddress(t)), append(monitoring, meshtest.FreeAddress(t)), append(routes, meshtest.FreeAddress(t))
	}
	for i := range 3 {
		conf := file(fmt.Sprintf("n%d.conf", i))
		text := queue.Conf{
			Name: fmt.Sprint("n", i), Listen: urls[i], Monitoring: monitoring[i], Store: file(fmt.Sprint("store", i)),
			Cert: file("nats.pem"), Key: file("nats-key.pem"), CA: file("ca.pem"), Cluster: routes[i], Routes: routes,
		}.Text()
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), nodeFile+"="+conf)
		if testing.Verbose() {
			cmd.Stderr = os.Stderr
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		nodes = append(nodes, cmd)
		urls[i], monitoring[i] = "tls://"+urls[i], "http://"+monitoring[i]
	}
	return ca, nodes, urls, monitoring, routes
}

// Three servers, three replicas, one of them killed (SIGKILL) while publishing: what was acknowledged comes out.
func TestClusterLosesNothing(t *testing.T) {
	ca, nodes, urls, monitoring, routes := cluster(t)
	options := func(role rpc.Role) queue.Options {
		return queue.Options{Servers: urls, TLS: clientTLS(t, ca, role), Role: string(role), Production: true}
	}
	admin := dial(t, options(rpc.Meshctl))
	eventually(t, "the cluster has a leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // nobody answers without a leader
		defer cancel()
		_, err := admin.Apply(ctx, 3)
		return err == nil
	})
	shard, worker := dial(t, options(rpc.Shard)), dial(t, options(rpc.Inbound))
	eventually(t, "connected", func() bool { err := shard.Ready(); return err != nil && strings.Contains(err.Error(), "streams check") })

	// Two of three servers are not every server; all three are.
	if r, err := admin.Check(limit(t), queue.CheckOptions{Replicas: 3, Monitoring: monitoring[:2]}); err != nil || r.Stamped || len(r.Differences) == 0 {
		t.Errorf("with two servers looked at: %+v, %v", r, err)
	}
	eventually(t, "checked and stamped", func() bool {
		r, err := admin.Check(limit(t), queue.CheckOptions{Replicas: 3, Monitoring: monitoring})
		return err == nil && r.Stamped && len(r.Servers) == 3
	})
	for _, c := range []*queue.Conn{shard, worker} {
		if err := c.Ready(); err != nil {
			t.Error(err)
		}
	}

	// Kill the leader of the stream: the worst of the three.
	stream, err := admin.JetStream().Stream(limit(t), string(queue.Inbound))
	if err != nil {
		t.Fatal(err)
	}
	var leader int
	if _, err := fmt.Sscanf(stream.CachedInfo().Cluster.Leader, "n%d", &leader); err != nil {
		t.Fatal(err)
	}
	stored := make(map[string]bool)
	killed := make(chan bool)
	after, failed := 0, 0
	for i := 0; after < 100; i++ {
		if i == 20 {
			go func() {
				if err := nodes[leader].Process.Kill(); err != nil {
					t.Error(err)
				}
				close(killed)
			}()
		}
		if i > 20_000 {
			t.Fatal("no server takes over")
		}
		var items []queue.Item
		for j := range 5 {
			items = append(items, item(fmt.Sprintf("%d-%d", i, j)))
		}
		errs := shard.Publish(limit(t), queue.Inbound, items...)
		for j, err := range errs {
			if err != nil {
				failed++
				time.Sleep(10 * time.Millisecond)
				continue
			}
			stored[items[j].ID] = true
			select {
			case <-killed:
				after++
			default:
			}
		}
	}
	t.Logf("%d acknowledged, %d refused", len(stored), failed)
	missing := maps.Clone(stored)
	var mu sync.Mutex
	consume(t, worker, queue.Inbound, 50, func(_ context.Context, m *queue.Message) {
		mu.Lock()
		delete(missing, m.ID)
		mu.Unlock()
		if err := m.Ack(); err != nil {
			t.Log(err)
		}
	})
	eventually(t, "everything acknowledged came out", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(missing) == 0
	})
	routeNeedsServer(t, ca, routes[(leader+1)%3])
}

// routeNeedsServer: a role's certificate must not join the cluster, where it could say anything.
func routeNeedsServer(t *testing.T, ca *rpc.CA, address string) {
	t.Helper()
	join := func(config *tls.Config) string {
		t.Helper()
		plain, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		if err := plain.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(plain, config)
		fmt.Fprint(conn, "CONNECT {\"verbose\":false,\"tls_required\":true,\"name\":\"nX\",\"cluster\":\"mesh\"}\r\nPING\r\n")
		var all strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(all.String(), "PONG") {
			n, err := conn.Read(buf)
			all.Write(buf[:n])
			if err != nil {
				break
			}
		}
		return all.String()
	}
	good, err := ca.QueueServer(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if said := join(good); !strings.Contains(said, "PONG") {
		t.Errorf("a server's certificate opens no route: %s", said)
	}
	for _, role := range rpc.Roles() {
		if said := join(clientTLS(t, ca, role)); strings.Contains(said, "PONG") || !strings.Contains(said, "Authorization Violation") {
			t.Errorf("the certificate of %s at the route: %s", role, said)
		}
	}
}

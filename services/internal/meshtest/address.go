package meshtest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports of FreeAddress: below those that kernels give to outgoing connections (32768 and up on Linux, 49152 elsewhere), which
// would take a port between this look and the moment when its process listens.
const (
	firstPort = 15000
	lastPort  = 32000
)

var taken sync.Map // ports given out by this process

// FreeAddress names a loopback address at which nobody listens: for processes whose files must name it before they start.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if _, again := taken.LoadOrStore(port, true); again {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue // somebody has it
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}

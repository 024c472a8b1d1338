// Package zonetest is a DNS server with a few records, for tests of what finds services by DNS. It answers over UDP and TCP on
// a port of the loopback, and can fail, be silent and answer garbage.
package zonetest

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Zone holds records by name, lower case, without the final dot. A name that stands nowhere does not exist.
type Zone struct {
	SRV map[string][]dnsmessage.SRVResource
	TXT map[string][]string
	A   map[string][4]byte
	NS  map[string]string
	MX  map[string]string

	Fault map[string]Fault // by name, of any type

	mu    sync.Mutex
	asked map[string]int
}

// Fault is what happens instead of an answer.
type Fault uint8

// The faults.
const (
	ServFail Fault = iota + 1
	Silence
	Garbage
)

// SRV makes a record of weight 1.
func SRV(target string, port, priority uint16) dnsmessage.SRVResource {
	return dnsmessage.SRVResource{Target: dnsmessage.MustNewName(target + "."), Port: port, Priority: priority, Weight: 1}
}

// Serve answers until the test ends and returns host:port. The zone is not changed while it serves, but by Change.
func (z *Zone) Serve(t testing.TB) string {
	t.Helper()
	for range 10 { // a port that is free for UDP is nearly always free for TCP
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", packets.LocalAddr().String())
		if err != nil {
			_ = packets.Close()
			continue
		}
		t.Cleanup(func() { _, _ = packets.Close(), l.Close() })
		go z.servePackets(packets)
		go z.serveStreams(l)
		return packets.LocalAddr().String()
	}
	t.Fatal("no port for a DNS server")
	return ""
}

// Change lets f change the zone while it serves.
func (z *Zone) Change(f func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f()
}

// Asked is how often a name was asked for, of any type.
func (z *Zone) Asked(name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[name]
}

func (z *Zone) servePackets(conn net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		out := z.answer(buf[:n])
		if len(out) > 512 { // without EDNS: come again by TCP
			out = truncated(out)
		}
		if out != nil {
			_, _ = conn.WriteTo(out, from)
		}
	}
}

func (z *Zone) serveStreams(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			var size [2]byte
			for {
				if _, err := io.ReadFull(conn, size[:]); err != nil {
					return
				}
				question := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(conn, question); err != nil {
					return
				}
				if out := z.answer(question); out != nil {
					_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
				}
			}
		}()
	}
}

func truncated(answer []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(answer) != nil {
		return answer
	}
	m.Answers, m.Truncated = nil, true
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func (z *Zone) answer(question []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	name := strings.ToLower(strings.TrimSuffix(m.Questions[0].Name.String(), "."))
	if z.asked == nil {
		z.asked = make(map[string]int)
	}
	z.asked[name]++
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	switch z.Fault[name] {
	case Silence:
		return nil
	case Garbage:
		return append(question[:2:2], "\x84\x00 this is no answer"...)
	case ServFail:
		m.RCode = dnsmessage.RCodeServerFailure
	default:
		z.fill(&m, name)
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func (z *Zone) fill(m *dnsmessage.Message, name string) {
	q := m.Questions[0]
	add := func(b dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: b,
		})
	}
	switch q.Type {
	case dnsmessage.TypeSRV:
		for _, r := range z.SRV[name] {
			add(&r)
		}
	case dnsmessage.TypeTXT:
		for _, r := range z.TXT[name] {
			add(&dnsmessage.TXTResource{TXT: []string{r}})
		}
	case dnsmessage.TypeA:
		if ip, ok := z.A[name]; ok {
			add(&dnsmessage.AResource{A: ip})
		}
	case dnsmessage.TypeNS:
		if ns, ok := z.NS[name]; ok {
			add(&dnsmessage.NSResource{NS: dnsmessage.MustNewName(ns + ".")})
		}
	case dnsmessage.TypeMX:
		if mx, ok := z.MX[name]; ok {
			add(&dnsmessage.MXResource{MX: dnsmessage.MustNewName(mx + ".")})
		}
	}
	if !z.exists(name) {
		m.RCode = dnsmessage.RCodeNameError
	}
}

func (z *Zone) exists(name string) bool {
	_, srv := z.SRV[name]
	_, txt := z.TXT[name]
	_, a := z.A[name]
	_, ns := z.NS[name]
	_, mx := z.MX[name]
	return srv || txt || a || ns || mx
}

package stack

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// zoneTTL of the answers in seconds: a provider that comes up again has its old ports, so nothing changes.
const zoneTTL = 5

// zone answers for the providers of `meshd dev` what FLOWS §1 asks: SRV and TXT of _mmm._tcp.<domain>, addresses.
type zone struct {
	mu      sync.RWMutex
	records map[string][]dns.RR
}

func newZone() *zone { return &zone{records: make(map[string][]dns.RR)} }

// add makes the records of one provider. Its host is mmm.<domain>: the certificate covers that name too.
func (z *zone) add(domain string, port uint16) {
	host := dns.Fqdn("mmm." + domain)
	service := dns.Fqdn("_mmm._tcp." + domain)
	header := func(name string, rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: zoneTTL}
	}
	z.put(&dns.SRV{Hdr: header(service, dns.TypeSRV), Port: port, Target: host})
	z.put(&dns.TXT{Hdr: header(service, dns.TypeTXT), Txt: []string{"path=/.well-known/mmm"}})
	for _, name := range []string{host, dns.Fqdn(domain)} {
		z.put(&dns.A{Hdr: header(name, dns.TypeA), A: net.IPv4(127, 0, 0, 1)})
	}
}

func (z *zone) put(rr dns.RR) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name := strings.ToLower(rr.Header().Name)
	z.records[name] = append(z.records[name], rr)
}

// ServeDNS implements dns.Handler.
func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
	} else if records, ok := z.records[strings.ToLower(q.Question[0].Name)]; !ok {
		m.Rcode = dns.RcodeNameError
	} else {
		for _, rr := range records {
			if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
	}
	_ = w.WriteMsg(m) // the client is gone: nobody to tell
}

// serveDNS answers on one loopback port, UDP and TCP, and returns it.
func (p *process) serveDNS(z *zone) (string, error) {
	// The port that is free for UDP is nearly always free for TCP; when not, take another.
	var errs []error
	for range 10 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		address := packets.LocalAddr().String()
		l, err := net.Listen("tcp", address)
		if err != nil {
			errs = append(errs, err, packets.Close())
			continue
		}
		p.runDNS(&dns.Server{PacketConn: packets, Handler: z})
		p.runDNS(&dns.Server{Listener: l, Handler: z})
		return address, nil
	}
	return "", errors.Join(errs...)
}

func (p *process) runDNS(s *dns.Server) {
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	p.run("dns", s.ActivateAndServe)
	<-started // Shutdown of a server that has not started is an error
	p.onStop(func(ctx context.Context) error { return s.ShutdownContext(ctx) })
}

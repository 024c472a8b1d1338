package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"path/filepath"
	"time"

	"github.com/mathmesh/meshd/services/internal/config"
)

// QueueName is the DNS name in the certificates of NATS servers. They name no role: such a certificate opens no gRPC service.
const QueueName = "nats.mesh.internal"

// IssueQueue makes the certificate of NATS servers, good for both ends of a route between them. hosts are the names and addresses by
// which the servers reach each other; roles ask for QueueName.
func (ca *CA) IssueQueue(hosts []string, now time.Time) (certPEM, keyPEM []byte, err error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: QueueName},
		DNSNames:    []string{QueueName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return ca.issue(template, now)
}

// WriteQueuePKI makes or renews nats.pem and nats-key.pem in dir, under the CA that lies there or a new one.
func WriteQueuePKI(dir string, hosts []string, now time.Time) error {
	ca, err := OpenCA(dir, "mesh internal", now)
	if err != nil {
		return err
	}
	certPEM, keyPEM, err := ca.IssueQueue(hosts, now)
	if err != nil {
		return err
	}
	if err := config.ReplaceFile(filepath.Join(dir, "nats-key.pem"), keyPEM, 0o600); err != nil {
		return err
	}
	return config.ReplaceFile(filepath.Join(dir, "nats.pem"), certPEM, 0o644)
}

// QueueServer is what a NATS server in this process listens with, and reaches others of its cluster.
func (ca *CA) QueueServer(now time.Time) (*tls.Config, error) {
	certPEM, keyPEM, err := ca.IssueQueue(nil, now)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
		RootCAs:      roots,
		ServerName:   QueueName,
	}, nil
}

// QueueClient is what a role reaches NATS with: its certificate is its user there. Certificate and CA are those of the moment of each
// handshake, so a renewed file needs no restart.
func (id *Identity) QueueClient() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: QueueName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, _ := id.current()
			return &cert, nil
		},
		// crypto/tls takes its roots once. VerifyConnection does what it would do, with those of now; it runs in every handshake.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("rpc: the queue shows no certificate")
			}
			_, roots := id.current()
			between := x509.NewCertPool()
			for _, cert := range s.PeerCertificates[1:] {
				between.AddCert(cert)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: QueueName, Roots: roots, Intermediates: between})
			return err
		},
	}
}

// PagesTLS is for pages of the deployment's own over https, such as the monitoring of NATS: servers with a certificate of our CA. It
// shows no certificate of the role.
func (id *Identity) PagesTLS() *tls.Config {
	_, roots := id.current()
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
}

package rpc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/mathmesh/meshd/services/internal/config"
)

const (
	// caLife: replacing a CA means touching every process; a decade outlives a deployment's design.
	caLife = 10 * 365 * 24 * time.Hour
	// CertLife is how long a role's certificate is good: a year, so that renewal is practised.
	CertLife = 365 * 24 * time.Hour
	// backdate forgives clocks that are a little behind ours.
	backdate = 5 * time.Minute
)

// CA signs the certificates of our roles, or of the public listeners of `meshd dev`. A deployment with a CA of its own
// does not need it: a certificate with the URI mesh://role/<role> and the name <role>.mesh.internal is all that counts.
type CA struct {
	cert    *x509.Certificate
	key     crypto.Signer
	certPEM []byte
	keyPEM  []byte
}

// NewCA makes a CA with a fresh P-256 key.
func NewCA(name string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return parseCA(encodeCert(der), keyPEM)
}

func parseCA(certPEM, keyPEM []byte) (*CA, error) {
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, errors.New("CA: not PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("CA: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("CA: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("CA: the key cannot sign")
	}
	return &CA{cert: cert, key: signer, certPEM: certPEM, keyPEM: keyPEM}, nil
}

// OpenCA reads the CA of dir, ca.pem and ca-key.pem, or makes it there.
func OpenCA(dir, name string, now time.Time) (*CA, error) {
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
	certPEM, err := os.ReadFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		ca, err := NewCA(name, now)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(keyFile, ca.keyPEM, 0o600); err != nil {
			return nil, err
		}
		return ca, os.WriteFile(certFile, ca.certPEM, 0o644) // last: its presence says that all is there
	}
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	return parseCA(certPEM, keyPEM)
}

// CertPEM is the CA's certificate.
func (ca *CA) CertPEM() []byte { return ca.certPEM }

// IssueRole makes the certificate of a role, good for both ends of a connection.
func (ca *CA) IssueRole(role Role, now time.Time) (certPEM, keyPEM []byte, err error) {
	return ca.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: role.DNSName()},
		DNSNames:    []string{role.DNSName()},
		URIs:        []*url.URL{role.uri()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, now)
}

// IssueServer makes a certificate for a public listener.
func (ca *CA) IssueServer(names []string, ips []net.IP, now time.Time) (certPEM, keyPEM []byte, err error) {
	return ca.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		DNSNames:    names,
		IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, now)
}

// Identity makes the identity of a role in memory.
func (ca *CA) Identity(role Role, now time.Time) (*Identity, error) {
	certPEM, keyPEM, err := ca.IssueRole(role, now)
	if err != nil {
		return nil, err
	}
	cert, roots, err := parseIdentity(certPEM, keyPEM, ca.certPEM)
	if err != nil {
		return nil, err
	}
	return &Identity{log: slog.Default(), cert: cert, roots: roots}, nil
}

func (ca *CA) issue(template *x509.Certificate, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber = serial()
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = now.Add(CertLife)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err = encodeKey(key)
	return encodeCert(der), keyPEM, err
}

// WritePKI makes or renews the certificates of all roles in dir, under the CA that lies there or a new one:
// ca.pem, ca-key.pem, <role>.pem, <role>-key.pem.
func WritePKI(dir string, now time.Time) error {
	ca, err := OpenCA(dir, "mesh internal", now)
	if err != nil {
		return err
	}
	for _, role := range Roles() {
		certPEM, keyPEM, err := ca.IssueRole(role, now)
		if err != nil {
			return err
		}
		if err := config.ReplaceFile(filepath.Join(dir, string(role)+"-key.pem"), keyPEM, 0o600); err != nil {
			return err
		}
		if err := config.ReplaceFile(filepath.Join(dir, string(role)+".pem"), certPEM, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func serial() *big.Int {
	octets := make([]byte, 16)
	rand.Read(octets)
	octets[0] &= 0x7f // positive
	return new(big.Int).SetBytes(octets)
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Package certificates makes the throwaway certificate authority of a test cluster and what it signs.
package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A test cluster that lives longer than this is not one.
const lifetime = 365 * 24 * time.Hour

type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// NewCommand returns the command that writes ca, service-account and the named certificates to a directory.
func NewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "certificates DIRECTORY NAME=/O=ORGANISATION/CN=COMMON_NAME[=IP:ADDRESS,DNS:NAME,...]...",
		Short: "Write a certificate authority, a service account key pair and certificates that it signs",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			return write(arguments[0], arguments[1:])
		},
		SilenceUsage: true,
	}
}

func write(directory string, requests []string) error {
	ca, err := newAuthority(directory)
	if err != nil {
		return err
	}
	if err := writeServiceAccountKeys(directory); err != nil {
		return err
	}
	for _, request := range requests {
		name, rest, found := strings.Cut(request, "=")
		if !found {
			return fmt.Errorf("%q is not NAME=SUBJECT[=ALTERNATIVE NAMES]", request)
		}
		template, err := parse(rest)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		if err := ca.issue(directory, name, template, key); err != nil {
			return err
		}
	}
	return nil
}

// parse reads /O=a/CN=b=IP:1.2.3.4,DNS:c.
func parse(text string) (*x509.Certificate, error) {
	template := &x509.Certificate{
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, part := range strings.Split(strings.TrimPrefix(text, "/"), "/") {
		kind, value, _ := strings.Cut(part, "=")
		value, alternatives, _ := strings.Cut(value, "=")
		switch kind {
		case "O":
			template.Subject.Organization = append(template.Subject.Organization, value)
		case "CN":
			template.Subject.CommonName = value
		default:
			return nil, fmt.Errorf("%q is neither O nor CN", kind)
		}
		for _, alternative := range strings.FieldsFunc(alternatives, func(r rune) bool { return r == ',' }) {
			kind, value, _ := strings.Cut(alternative, ":")
			address := net.ParseIP(value)
			switch {
			case kind == "DNS":
				template.DNSNames = append(template.DNSNames, value)
			case kind == "IP" && address != nil:
				template.IPAddresses = append(template.IPAddresses, address)
			default:
				return nil, fmt.Errorf("%q is neither DNS:NAME nor IP:ADDRESS", alternative)
			}
		}
	}
	return template, nil
}

func newAuthority(directory string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "test-cluster-ca"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	ca := &authority{certificate: template, key: key}
	if err := ca.issue(directory, "ca", template, key); err != nil {
		return nil, err
	}
	return ca, nil
}

// issue signs the template, fills it in with what was signed and writes NAME.crt and NAME.key.
func (ca *authority) issue(directory, name string, template *x509.Certificate, key crypto.Signer) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = template.NotBefore.Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := writePEM(filepath.Join(directory, name+".crt"), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(filepath.Join(directory, name+".key"), key)
}

func writeServiceAccountKeys(directory string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(directory, "service-account.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(filepath.Join(directory, "service-account.key"), key)
}

func writeKey(path string, key crypto.Signer) error {
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("%s: not an elliptic-curve key", path)
	}
	// SEC 1, not PKCS #8: the service account signer of the controller manager reads only the former for EC keys.
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

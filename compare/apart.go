package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// What is apart has a hub on each of three hosts: the client is on the first, the
// service on the second, and the third only belongs to the network or cluster.
const hostsApart = 3

// Where hubs listen, each on a host of its own.
const (
	irisRelay = "127.0.0.1:55555"
	irisPeers = "14142"
	natsRelay = "127.0.0.1:4222"
	natsPeers = "6222"
)

// startHubsApart starts a hub of the fabric on each host.
func (s *stage) startHubsApart(fabric string) (hubs []hub, err error) {
	startHub := s.startNATSApart
	if fabric == irisTCP.Fabric {
		startHub = s.startNodeApart
	}
	for host := range hostsApart {
		h, err := startHub(host)
		if err != nil {
			return nil, err
		}
		hubs = append(hubs, h)
	}
	return hubs, nil
}

// startNodeApart starts a node that knows the first host.
func (s *stage) startNodeApart(host int) (h hub, err error) {
	key := filepath.Join(s.dir, "iris.key")
	if host == 0 {
		if err := s.build(); err != nil {
			return h, err
		}
		if output, err := exec.CommandContext(s.ctx, s.iris, "keygen", key).CombinedOutput(); err != nil {
			return h, fmt.Errorf("iris keygen: %w: %s", err, output)
		}
	}
	name := fmt.Sprintf("iris node %d", host)
	socket := filepath.Join(s.dir, fmt.Sprintf("iris%d.sock", host))
	args := []string{"node", "--net", "compare", "--key", key, "--discover", "none", "--socket", socket, "--state", "none", "--log-level", "warn"}
	if host > 0 {
		args = append(args, "--peer", net.JoinHostPort(s.lan.ip(0), irisPeers))
	}
	if s.cpuprof != "" {
		args = append(args, "--cpuprof", fmt.Sprintf("%s.%d", s.cpuprof, host))
	}
	h.process, err = startProcess(name, exec.CommandContext(s.ctx, s.iris, args...), s.lan.on(host), false, s.fail)
	if err != nil {
		return h, err
	}
	s.all = append(s.all, h.process)
	for end := time.Now().Add(patience); !s.lan.listens(s.ctx, host, irisRelay); time.Sleep(5 * time.Millisecond) {
		if s.ctx.Err() != nil || time.Now().After(end) {
			return h, fmt.Errorf("%s does not listen after %v", name, patience)
		}
	}
	h.addresses = map[string]string{"tcp": irisRelay, "unix": socket}
	return h, nil
}

// startNATSApart starts a server that knows all hosts.
func (s *stage) startNATSApart(host int) (h hub, err error) {
	certificate, key := filepath.Join(s.dir, "nats.crt"), filepath.Join(s.dir, "nats.key")
	if host == 0 {
		if err := s.writeCertificate(certificate, key); err != nil {
			return h, err
		}
	}
	var routes []string
	for other := range hostsApart {
		if other != host {
			routes = append(routes, "nats://"+net.JoinHostPort(s.lan.ip(other), natsPeers))
		}
	}
	file := filepath.Join(s.dir, fmt.Sprintf("nats%d.conf", host))
	text := fmt.Sprintf(`server_name: host%d
listen: "%s"
cluster {
	name: compare
	listen: "%s"
	routes: ["%s"]
	tls { cert_file: "%s", key_file: "%s", ca_file: "%[5]s", verify: true }
}
`, host, natsRelay, net.JoinHostPort(s.lan.ip(host), natsPeers), strings.Join(routes, `", "`), certificate, key)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return h, err
	}
	h.process, _, err = s.startRole(role{"hub", natsTCPApart, file}, s.lan.on(host))
	h.addresses = map[string]string{"tcp": natsRelay}
	return h, err
}

// writeCertificate writes a certificate for every host, its own authority, and the
// key of it.
func (s *stage) writeCertificate(certificateFile, keyFile string) error {
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for host := range hostsApart {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(s.lan.ip(host)))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certificateFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}

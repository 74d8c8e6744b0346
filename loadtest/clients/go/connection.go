package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/aws"
)

// connection says where the server is and how to prove who we are.
type connection struct {
	mechanism string
	options   []kgo.Opt
}

// parseConnection reads the command line, `dev.json` and the AWS_* environment.
func parseConnection() (connection, error) {
	path := flag.String("dev-json", "", "the file that `headgate dev` writes")
	plaintext := flag.Bool("plaintext", false, "use the plaintext listener, any Kafka will do")
	flag.String("mechanism", "AWS_MSK_IAM", "AWS_MSK_IAM is the only one here")
	flag.Parse()

	text, err := os.ReadFile(*path)
	if err != nil {
		return connection{}, err
	}
	var dev struct {
		BootstrapIAM       string `json:"bootstrap_iam"`
		BootstrapPlaintext string `json:"bootstrap_plaintext"`
		CAPemPath          string `json:"ca_pem_path"`
	}
	if err := json.Unmarshal(text, &dev); err != nil {
		return connection{}, err
	}
	if *plaintext {
		return connection{"PLAINTEXT", []kgo.Opt{kgo.SeedBrokers(dev.BootstrapPlaintext)}}, nil
	}
	pem, err := os.ReadFile(dev.CAPemPath)
	if err != nil {
		return connection{}, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return connection{}, errors.New("no certificate in " + dev.CAPemPath)
	}
	dialer := &tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 10 * time.Second},
		Config:    &tls.Config{RootCAs: roots},
	}
	keys := aws.Auth{
		AccessKey:    os.Getenv("AWS_ACCESS_KEY_ID"),
		SecretKey:    os.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
	}
	return connection{"AWS_MSK_IAM", []kgo.Opt{
		kgo.SeedBrokers(strings.Split(dev.BootstrapIAM, ",")...),
		kgo.Dialer(dialer.DialContext),
		kgo.SASL(keys.AsManagedStreamingIAMMechanism()),
	}}, nil
}

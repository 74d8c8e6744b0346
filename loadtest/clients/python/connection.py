"""Where the server is and how to prove who we are, from `dev.json` and the AWS_* environment."""

import argparse
import json
import uuid

AWS_MSK_IAM, OAUTHBEARER, PLAINTEXT = "AWS_MSK_IAM", "OAUTHBEARER", "PLAINTEXT"


class Connection:
    def __init__(self, dev, mechanism):
        plaintext = mechanism == PLAINTEXT
        self.mechanism = mechanism
        self.bootstrap = dev["bootstrap_plaintext" if plaintext else "bootstrap_iam"]
        self.ca_file = None if plaintext else dev["ca_pem_path"]
        self.region = dev["region"]

    @property
    def is_plaintext(self):
        return self.mechanism == PLAINTEXT

    def token(self):
        """A fresh OAUTHBEARER token and its expiry in milliseconds since 1970."""
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

        return MSKAuthTokenProvider.generate_auth_token(self.region)


def parse_arguments(client, mechanisms):
    """The command line that every client shares; the first mechanism is the default."""
    parser = argparse.ArgumentParser(prog=client)
    parser.add_argument("--dev-json", required=True, help="the file that `headgate dev` writes")
    parser.add_argument("--mechanism", choices=mechanisms, default=mechanisms[0])
    parser.add_argument("--plaintext", action="store_true", help="use the plaintext listener, any Kafka will do")
    arguments = parser.parse_args()
    with open(arguments.dev_json, encoding="utf-8") as file:
        dev = json.load(file)
    return Connection(dev, PLAINTEXT if arguments.plaintext else arguments.mechanism)


def fresh_name(client, mechanism):
    return f"{client}-{mechanism.lower()}-{uuid.uuid4().hex[:8]}"

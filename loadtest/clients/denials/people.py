"""Users whose policies, keys and sessions lead to each refusal."""

import json
import re
import time

from signing import Keys

EXPORT = re.compile(r"^export (AWS_\w+)='([^']*)'$", re.MULTILINE)
DENY_NAME = "NoConnectForThisOne"


def allow(actions, resources="*"):
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def keys_of(text):
    """The credentials that a command printed for a shell."""
    found = dict(EXPORT.findall(text))
    return Keys(found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"], found.get("AWS_SESSION_TOKEN"))


class Cast:
    """Made by the operator's own commands, as a person would make them."""

    def __init__(self, server, work):
        self.server, self.work = server, work
        dev = server.dev
        self.administrator = Keys(dev["access_key_id"], dev["secret_access_key"])
        arn = dev["cluster_arn"]
        self.one_topic = f"{arn.replace(':cluster/', ':topic/')}/allowed"

        everything = allow("kafka-cluster:*")
        self.member = self.user("member", everything)
        self.idle = self.user("idle", everything)
        server.operator("key", "deactivate", self.idle.access_key_id, "--user", "idle")
        self.stranger = self.user("stranger", allow("s3:*"))
        self.barred = self.user("barred", everything, {"Sid": DENY_NAME, "Effect": "Deny", "Action": "kafka-cluster:Connect", "Resource": "*"})
        self.looker = self.user("looker", allow(["kafka-cluster:Connect", "kafka-cluster:DescribeTopic", "kafka-cluster:DescribeGroup"]))
        self.narrow = self.user(
            "narrow",
            allow(["kafka-cluster:Connect", "kafka-cluster:DescribeTopic"]),
            allow("kafka-cluster:WriteData", self.one_topic),
        )
        self.session = self.session_of("member", 3600)
        self.other_session = self.session_of("member", 3600)
        self.expired_session = self.session_of("member", 1)
        time.sleep(1.5)  # The server's own clock must pass the second; that is the point of the row.

    def user(self, name, *statements):
        policy = self.work / f"{name}.json"
        policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
        return keys_of(self.server.operator("user", "create", name, "--policy", str(policy)))

    def session_of(self, user, seconds):
        return keys_of(self.server.operator("session", "create", "--user", user, "--seconds", str(seconds)))

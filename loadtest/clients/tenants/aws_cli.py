"""The real `aws` command line opens, grants, inspects and closes a tenancy, with nothing but the endpoint added; a Kafka client
then uses exactly the bootstrap string and the keys that came back. Every answer is held against botocore's models."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness.fault import Fault, require  # noqa: E402
from harness.server import DevServer, without_aws  # noqa: E402
import strict  # noqa: E402
from recorder import Recorder  # noqa: E402

COMMAND_SECONDS = 60
ACTIVE_SECONDS = 60
ROUND_SECONDS = 120
ALLOW = "Allow"
SERVERLESS = {
    "VpcConfigs": [{"SubnetIds": ["subnet-0a1", "subnet-0b2"], "SecurityGroupIds": ["sg-0c3"]}],
    "ClientAuthentication": {"Sasl": {"Iam": {"Enabled": True}}},
}


class Cli:
    """`aws`, as whoever the keys belong to."""

    def __init__(self, fault, aws, region, url):
        self.fault, self.aws, self.region, self.url = fault, aws, region, url
        self.ran = 0

    def environment(self, keys):
        home = self.fault.work / "home"  # No settings of whoever runs this.
        return without_aws(os.environ) | keys | {"HOME": str(home), "AWS_DEFAULT_REGION": self.region, "AWS_PAGER": ""}

    def __call__(self, keys, *words, refused=None):
        """The parsed output; with `refused` the command must fail with this error."""
        command = [self.aws, *words, "--endpoint-url", self.url, "--output", "json"]
        done = subprocess.run(command, env=self.environment(keys), capture_output=True, text=True, timeout=COMMAND_SECONDS)
        self.ran += 1
        shown = f"aws {' '.join(words)[:300]}: {done.returncode}\n{done.stdout}{done.stderr}"
        if refused:
            require(done.returncode != 0 and f"({refused})" in done.stderr, f"{refused} is expected of {shown}")
            return None
        require(done.returncode == 0, shown)
        return json.loads(done.stdout) if done.stdout.strip() else {}


def keys_of(access_key, token=None):
    keys = {"AWS_ACCESS_KEY_ID": access_key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": access_key["SecretAccessKey"]}
    return keys | ({"AWS_SESSION_TOKEN": token} if token else {})


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions, resources="*"):
    return {"Effect": ALLOW, "Action": actions, "Resource": resources}


def wait_until_active(cli, keys, arn):
    deadline = time.monotonic() + ACTIVE_SECONDS
    while True:
        info = cli(keys, "kafka", "describe-cluster-v2", "--cluster-arn", arn)["ClusterInfo"]
        if info["State"] == "ACTIVE":
            return info
        require(info["State"] == "CREATING" and time.monotonic() < deadline, f"{arn} is {info['State']}")
        time.sleep(0.2)


def round_trip(fault, cli, keys, server, bootstrap, topic):
    """The Kafka client, in a process of its own with these keys alone."""
    command = [sys.executable, HERE / "roundtrip.py", "--bootstrap", bootstrap, "--ca", server.dev["ca_pem_path"], "--topic", topic]
    done = subprocess.run(command, env=cli.environment(keys), capture_output=True, text=True, timeout=ROUND_SECONDS)
    require(done.returncode == 0, f"the Kafka client ended with {done.returncode}:\n{done.stdout}{done.stderr[-3000:]}")
    fault.say(done.stdout.strip())


def clusters(fault, cli, administrator):
    created = cli(
        administrator, "kafka", "create-cluster-v2", "--cluster-name", "orders",
        "--tags", "team=a", "--serverless", json.dumps(SERVERLESS),
    )  # fmt: skip
    arn = created["ClusterArn"]
    require(created["State"] == "CREATING" and created["ClusterType"] == "SERVERLESS", created)
    info = wait_until_active(cli, administrator, arn)
    require(info["Tags"] == {"team": "a"} and info["Serverless"]["VpcConfigs"] == SERVERLESS["VpcConfigs"], info)
    cli(administrator, "kafka", "create-cluster-v2", "--cluster-name", "orders", "--serverless", json.dumps(SERVERLESS), refused="ConflictException")
    bootstrap = cli(administrator, "kafka", "get-bootstrap-brokers", "--cluster-arn", arn)
    require(list(bootstrap) == ["BootstrapBrokerStringSaslIam"], bootstrap)
    listed = cli(administrator, "kafka", "list-clusters-v2", "--page-size", "1")["ClusterInfoList"]
    require({cluster["ClusterName"] for cluster in listed} >= {"demo", "orders"}, listed)
    cli(administrator, "kafka", "tag-resource", "--resource-arn", arn, "--tags", "stage=test")
    cli(administrator, "kafka", "untag-resource", "--resource-arn", arn, "--tag-keys", "team")
    tags = cli(administrator, "kafka", "list-tags-for-resource", "--resource-arn", arn)["Tags"]
    require(tags == {"stage": "test"}, tags)
    fault.say(f"cluster {arn}")
    return arn, bootstrap["BootstrapBrokerStringSaslIam"]


def cluster_policy(cli, administrator, arn):
    statement = {"Effect": ALLOW, "Principal": {"AWS": "210987654321"}, "Action": "kafka-cluster:Connect", "Resource": arn}
    cli(administrator, "kafka", "get-cluster-policy", "--cluster-arn", arn, refused="NotFoundException")
    put = cli(administrator, "kafka", "put-cluster-policy", "--cluster-arn", arn, "--policy", document(statement))
    got = cli(administrator, "kafka", "get-cluster-policy", "--cluster-arn", arn)
    require(got == {"CurrentVersion": put["CurrentVersion"], "Policy": document(statement)}, got)
    cli(administrator, "kafka", "put-cluster-policy", "--cluster-arn", arn, "--policy", "{}", refused="BadRequestException")
    cli(administrator, "kafka", "delete-cluster-policy", "--cluster-arn", arn)


def other_calls(cli, administrator, arn):
    versions = cli(administrator, "kafka", "list-kafka-versions")["KafkaVersions"]
    require(versions and versions[0]["Status"] == "ACTIVE", versions)
    cli(administrator, "kafka", "list-cluster-operations-v2", "--cluster-arn", arn)
    cli(administrator, "kafka", "get-compatible-kafka-versions", "--cluster-arn", arn)
    cli(administrator, "kafka", "list-clusters")
    cli(administrator, "kafka", "list-nodes", "--cluster-arn", arn, refused="BadRequestException")
    cli(administrator, "kafka", "describe-cluster", "--cluster-arn", arn, refused="BadRequestException")


def user(cli, administrator, arn):
    """A user with an inline policy and keys."""
    cli(administrator, "iam", "create-user", "--user-name", "ann", "--tags", "Key=team,Value=a")
    key = cli(administrator, "iam", "create-access-key", "--user-name", "ann")["AccessKey"]
    topics = arn.replace(":cluster/", ":topic/") + "/*"
    groups = arn.replace(":cluster/", ":group/") + "/*"
    policy = document(allow(["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"], arn), allow("kafka-cluster:*", [topics, groups]))
    cli(administrator, "iam", "put-user-policy", "--user-name", "ann", "--policy-name", "orders", "--policy-document", policy)
    got = cli(administrator, "iam", "get-user-policy", "--user-name", "ann", "--policy-name", "orders")
    require(got["PolicyDocument"] == json.loads(policy), got)
    keys = keys_of(key)
    identity = cli(keys, "sts", "get-caller-identity")
    require(identity["Arn"].endswith(":user/ann"), identity)
    cli(keys, "iam", "list-users", refused="AccessDenied")
    return keys


def role(cli, administrator, arn):
    """A group that may assume a role, and the role with a managed policy. Returns the keys of a session of it."""
    account = cli(administrator, "sts", "get-caller-identity")["Account"]
    trust = document({"Effect": ALLOW, "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"})
    made = cli(administrator, "iam", "create-role", "--role-name", "app", "--assume-role-policy-document", trust)["Role"]
    anything = [arn, arn.replace(":cluster/", ":topic/") + "/*", arn.replace(":cluster/", ":group/") + "/*"]
    policy = cli(
        administrator, "iam", "create-policy", "--policy-name", "orders-all", "--policy-document", document(allow("kafka-cluster:*", anything))
    )["Policy"]
    cli(administrator, "iam", "attach-role-policy", "--role-name", "app", "--policy-arn", policy["Arn"])
    cli(administrator, "iam", "create-group", "--group-name", "team")
    cli(administrator, "iam", "put-group-policy", "--group-name", "team", "--policy-name", "assume", "--policy-document", document(allow("sts:AssumeRole", made["Arn"])))
    cli(administrator, "iam", "create-user", "--user-name", "bob")
    bob = keys_of(cli(administrator, "iam", "create-access-key", "--user-name", "bob")["AccessKey"])
    assume = ["sts", "assume-role", "--role-arn", made["Arn"], "--role-session-name", "s1"]
    cli(bob, *assume, refused="AccessDenied")
    cli(administrator, "iam", "add-user-to-group", "--group-name", "team", "--user-name", "bob")
    session = cli(bob, *assume)
    require(session["AssumedRoleUser"]["Arn"].endswith(":assumed-role/app/s1"), session["AssumedRoleUser"])
    credentials = session["Credentials"]
    return keys_of(credentials, credentials["SessionToken"])


def rotate(cli, administrator, old):
    """A second key, the first one switched off, and when each was last used."""
    key = cli(administrator, "iam", "create-access-key", "--user-name", "ann")["AccessKey"]
    cli(administrator, "iam", "create-access-key", "--user-name", "ann", refused="LimitExceeded")
    new = keys_of(key)
    used = ["iam", "get-access-key-last-used", "--access-key-id"]
    require("LastUsedDate" not in cli(administrator, *used, key["AccessKeyId"])["AccessKeyLastUsed"], "it was not used yet")
    cli(new, "sts", "get-caller-identity")
    require(cli(administrator, *used, key["AccessKeyId"])["AccessKeyLastUsed"]["ServiceName"] == "sts", "it was used for sts")
    last = cli(administrator, *used, old["AWS_ACCESS_KEY_ID"])["AccessKeyLastUsed"]
    require(last["ServiceName"] == "kafka-cluster", f"the old key was last used for Kafka, not {last}")
    cli(administrator, "iam", "update-access-key", "--user-name", "ann", "--access-key-id", old["AWS_ACCESS_KEY_ID"], "--status", "Inactive")
    cli(old, "sts", "get-caller-identity", refused="InvalidClientTokenId")
    cli(administrator, "iam", "delete-access-key", "--user-name", "ann", "--access-key-id", old["AWS_ACCESS_KEY_ID"])
    return new


def may(cli, administrator, arn):
    """Whether X may do Y, and why not."""
    account = cli(administrator, "sts", "get-caller-identity")["Account"]
    asked = cli(
        administrator, "iam", "simulate-principal-policy", "--policy-source-arn", f"arn:aws:iam::{account}:user/ann",
        "--action-names", "kafka-cluster:Connect", "kafka-cluster:DescribeCluster", "--resource-arns", arn,
    )["EvaluationResults"]  # fmt: skip
    decisions = {result["EvalActionName"]: result["EvalDecision"] for result in asked}
    require(decisions == {"kafka-cluster:Connect": "allowed", "kafka-cluster:DescribeCluster": "implicitDeny"}, decisions)


def close(fault, cli, administrator, arn, keys):
    deleted = cli(administrator, "kafka", "delete-cluster", "--cluster-arn", arn)
    require(deleted["State"] == "DELETING", deleted)
    cli(administrator, "kafka", "get-bootstrap-brokers", "--cluster-arn", arn, refused="ConflictException")
    deadline = time.monotonic() + ACTIVE_SECONDS
    while any(cluster["ClusterArn"] == arn for cluster in cli(administrator, "kafka", "list-clusters-v2")["ClusterInfoList"]):
        require(time.monotonic() < deadline, f"{arn} is still there")
        time.sleep(0.5)
    cli(administrator, "kafka", "describe-cluster-v2", "--cluster-arn", arn, refused="NotFoundException")
    cli(administrator, "iam", "delete-user", "--user-name", "ann", refused="DeleteConflict")
    cli(administrator, "iam", "delete-user-policy", "--user-name", "ann", "--policy-name", "orders")
    cli(administrator, "iam", "delete-access-key", "--user-name", "ann", "--access-key-id", keys["AWS_ACCESS_KEY_ID"])
    cli(administrator, "iam", "delete-user", "--user-name", "ann")
    cli(keys, "sts", "get-caller-identity", refused="InvalidClientTokenId")
    fault.say("closed")


def play(fault):
    configuration = fault.work / "headgate.toml"
    configuration.write_text("[control]\ncluster_removal_delay_ms = 1000\n")
    server = DevServer(fault.arguments.headgate, fault.work / "data", fault.work / "server.log", ["--config", str(configuration)])
    with server, Recorder(server.dev["api_url"], strict.models()) as recorder:
        cli = Cli(fault, fault.arguments.aws, server.dev["region"], recorder.url)
        administrator = {"AWS_ACCESS_KEY_ID": server.dev["access_key_id"], "AWS_SECRET_ACCESS_KEY": server.dev["secret_access_key"]}
        arn, bootstrap = clusters(fault, cli, administrator)
        cluster_policy(cli, administrator, arn)
        other_calls(cli, administrator, arn)
        keys = user(cli, administrator, arn)
        round_trip(fault, cli, keys, server, bootstrap, "by-ann")
        may(cli, administrator, arn)
        round_trip(fault, cli, role(cli, administrator, arn), server, bootstrap, "by-the-role")
        keys = rotate(cli, administrator, keys)
        round_trip(fault, cli, keys, server, bootstrap, "by-the-new-key")
        close(fault, cli, administrator, arn, keys)
        require(not recorder.mismatches, "answers do not fit the models:\n" + "\n".join(recorder.mismatches))
        return f"{cli.ran} aws commands, {recorder.checked} answers of {len(recorder.operations)} operations fit the models"


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0], aws={"required": True, "help": "the `aws` command"})
    sys.exit(fault.main("aws-cli", play))

"""Clusters and users, made with boto3 as a tenant would make them, and programs run as those users."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from harness.server import without_aws

MEMBER = Path(__file__).resolve().parent / "member.py"
MEMBER_SECONDS = 120
POLICY = "inline"
ACTIVE_SECONDS = 30


class Cluster:
    def __init__(self, name, arn, bootstrap):
        self.name, self.arn, self.bootstrap = name, arn, bootstrap

    @property
    def host(self):
        return self.bootstrap.rpartition(":")[0]

    @property
    def suffix(self):
        """What all names of the cell end with."""
        return self.host.partition(".")[2]

    def everything(self):
        """The ARNs of the cluster and of all that is in it."""
        inside = [self.arn.replace(":cluster/", f":{kind}/") + "/*" for kind in ("topic", "group")]
        return [self.arn, *inside]


class User:
    def __init__(self, name, arn, keys):
        self.name, self.arn, self.keys = name, arn, keys

    def environment(self, region):
        return {
            "AWS_ACCESS_KEY_ID": self.keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.keys["SecretAccessKey"],
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class Tenancy:
    """The control API, as the administrator."""

    def __init__(self, server):
        import boto3

        self.dev = server.dev
        session = boto3.Session(
            aws_access_key_id=self.dev["access_key_id"],
            aws_secret_access_key=self.dev["secret_access_key"],
            region_name=self.dev["region"],
        )
        self.kafka = session.client("kafka", endpoint_url=self.dev["api_url"])
        self.iam = session.client("iam", endpoint_url=self.dev["api_url"])

    def cluster(self, name):
        arn = self.kafka.create_cluster_v2(ClusterName=name, Serverless=serverless())["ClusterArn"]
        give_up = time.monotonic() + ACTIVE_SECONDS
        while (state := self.kafka.describe_cluster_v2(ClusterArn=arn)["ClusterInfo"]["State"]) != "ACTIVE":
            if state != "CREATING" or time.monotonic() > give_up:
                raise RuntimeError(f"cluster {name} is {state}")
            time.sleep(0.05)
        return self.known(name, arn)

    def demo(self):
        return self.known(self.dev["cluster_name"], self.dev["cluster_arn"])

    def known(self, name, arn):
        brokers = self.kafka.get_bootstrap_brokers(ClusterArn=arn)
        return Cluster(name, arn, brokers["BootstrapBrokerStringSaslIam"])

    def user(self, name, *statements):
        """A user who may do what the statements say; without any, nothing."""
        arn = self.iam.create_user(UserName=name)["User"]["Arn"]
        if statements:
            self.allow(name, *statements)
        return User(name, arn, self.iam.create_access_key(UserName=name)["AccessKey"])

    def allow(self, name, *statements):
        """Replaces what the user may do."""
        self.iam.put_user_policy(UserName=name, PolicyName=POLICY, PolicyDocument=document(*statements))

    def put_policy(self, cluster, *statements):
        """Replaces the cluster's policy."""
        self.kafka.put_cluster_policy(ClusterArn=cluster.arn, Policy=document(*statements))

    def delete_policy(self, cluster):
        self.kafka.delete_cluster_policy(ClusterArn=cluster.arn)

    def set_key(self, user, status):
        self.iam.update_access_key(UserName=user.name, AccessKeyId=user.keys["AccessKeyId"], Status=status)

    def run(self, user, what, cluster, **options):
        """Runs the member program as this user; what it tells."""
        command = [sys.executable, str(MEMBER), what, "--bootstrap", cluster.bootstrap, "--ca", self.dev["ca_pem_path"]]
        for option, value in options.items():
            command += [f"--{option}", str(value)]
        environment = without_aws(os.environ) | user.environment(self.dev["region"])
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=MEMBER_SECONDS)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            raise RuntimeError(f"{what} as {user.name} ended with {done.returncode}: {done.stderr[-2000:]}")
        return json.loads(lines[-1])


def serverless():
    iam = {"Sasl": {"Iam": {"Enabled": True}}}
    return {"VpcConfigs": [{"SubnetIds": ["subnet-1", "subnet-2"]}], "ClientAuthentication": iam}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions, resources="*"):
    return {"Effect": "Allow", "Action": actions, "Resource": resources}

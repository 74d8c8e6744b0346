#!/usr/bin/env python3
"""What `kafka-topics` shows: the TopicId, one line a partition with leader, replicas and ISR, and the configs.

Runs Kafka's own class behind `kafka-topics.sh`, as a user would, and reads what it prints.
"""

import argparse
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLASS_PATH = f"{HERE}/target/clients.jar:{HERE}/target/lib/*"
PARTITIONS = 6
CONFIGS = {"retention.ms": "3600000", "max.message.bytes": "500000"}
TIMEOUT_SECONDS = 60
HEADER = re.compile(
    r"Topic: (?P<name>\S+)\tTopicId: (?P<id>[A-Za-z0-9_-]{22})\tPartitionCount: (?P<partitions>\d+)"
    r"\tReplicationFactor: (?P<factor>\d+)\tConfigs: (?P<configs>\S*)"
)
LINE = re.compile(r"\tTopic: \S+\tPartition: (?P<partition>\d+)\tLeader: (?P<leader>\S+)\tReplicas: (?P<replicas>\S+)\tIsr: (?P<isr>\S+)")


class Unexpected(Exception):
    """The tool printed something else than it must; the text shows it."""


def run(main_class, *arguments):
    command = ["java", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", CLASS_PATH, main_class, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    if done.returncode:
        raise Unexpected(f"{main_class} {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def topics(connection, *arguments):
    return run("org.apache.kafka.tools.TopicCommand", *connection, *arguments)


def check_description(text, topic, partitions, replicas, brokers):
    print(text)
    header = required(HEADER, text)
    if (header["name"], int(header["partitions"]), int(header["factor"])) != (topic, partitions, len(replicas.split(","))):
        raise Unexpected(f"header: {header.group(0)}")
    configs = dict(pair.split("=", 1) for pair in header["configs"].split(",") if pair)
    if not CONFIGS.items() <= configs.items():
        raise Unexpected(f"configs: {configs}, expected {CONFIGS}")
    lines = list(LINE.finditer(text))
    if [int(line["partition"]) for line in lines] != list(range(partitions)):
        raise Unexpected(f"partitions: {[line['partition'] for line in lines]}")
    for line in lines:
        if line["leader"] not in brokers:
            raise Unexpected(f"the leader is not a listed broker {brokers}: {line.group(0)}")
        for name in ("replicas", "isr"):
            if sorted(line[name].split(",")) != replicas.split(","):
                raise Unexpected(f"{name}, expected {replicas}: {line.group(0)}")


def required(pattern, text):
    found = pattern.search(text)
    if not found:
        raise Unexpected(f"no line like {pattern.pattern!r}")
    return found


def listed_brokers(connection):
    """Ids of the brokers that a client is told of. The tool takes `--command-config` under this one name everywhere."""
    text = run("org.apache.kafka.tools.BrokerApiVersionsCommand", *connection)
    return set(re.findall(r"\(id: (\d+) ", text))


def check(connection, replicas):
    topic = f"topic-command-{uuid.uuid4().hex[:8]}"
    configs = [word for pair in CONFIGS.items() for word in ("--config", "=".join(pair))]
    topics(connection, "--create", "--topic", topic, "--partitions", str(PARTITIONS), *configs)
    if topic not in topics(connection, "--list").split():
        raise Unexpected("--list does not name the new topic")
    brokers = listed_brokers(connection)
    check_description(topics(connection, "--describe", "--topic", topic), topic, PARTITIONS, replicas, brokers)
    topics(connection, "--alter", "--topic", topic, "--partitions", str(PARTITIONS + 2))
    check_description(topics(connection, "--describe", "--topic", topic), topic, PARTITIONS + 2, replicas, brokers)
    if topics(connection, "--describe", "--under-replicated-partitions").strip():
        raise Unexpected("partitions are listed as under-replicated")
    topics(connection, "--delete", "--topic", topic)
    if topic in topics(connection, "--list").split():
        raise Unexpected("--list names the deleted topic")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dev-json", required=True, type=Path)
    parser.add_argument("--plaintext", action="store_true", help="use the plaintext listener, any Kafka will do")
    parser.add_argument("--replicas", default="1,2,3", help="the replica ids to expect; another Kafka may have others")
    arguments = parser.parse_args()
    dev = json.loads(arguments.dev_json.read_text())
    if arguments.plaintext:
        connection = ["--bootstrap-server", dev["bootstrap_plaintext"]]
    else:
        properties = arguments.dev_json.parent / "clients" / "java.properties"
        connection = ["--bootstrap-server", dev["bootstrap_iam"], "--command-config", str(properties)]
    try:
        check(connection, arguments.replicas)
    except Unexpected as error:
        print(f"FAILED topic-command: {error}")
        return 1
    print(f"ok topic-command {'PLAINTEXT' if arguments.plaintext else 'AWS_MSK_IAM'} replicas={arguments.replicas}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

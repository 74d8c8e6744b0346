"""Many idle clusters in one process, made through the API with topics: their cost in time, memory and restart.

A produce on any of them works at once. `--clusters 10000` is the full size; the figures stand in the last line."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, Queue

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness.fault import Fault, require  # noqa: E402
from harness.server import DevServer  # noqa: E402
from http_signing import Connection, Draft, Signer  # noqa: E402

TOPICS, PARTITIONS = 3, 2
CALLERS = 16
SAMPLES = 5
# Far above what a tool does; a setting of the test, so that the rate limit is not what is measured.
REQUESTS_PER_SECOND = 100_000
SETTLE_SECONDS = 5
ACTIVE_SECONDS = 120
ROUND_SECONDS = 60
KIB = 1024


def name_of(number):
    return f"tenant-{number:05}"


class Callers:
    """Calls of the control API over a few connections that stay open."""

    def __init__(self, server):
        self.dev = server.dev
        self.address = self.dev["api_url"].removeprefix("http://")

    def each(self, items, call):
        """Runs `call(connection, item)` for every item; the seconds it took, and what the calls returned."""
        todo, results, failures = Queue(), [], []
        for item in items:
            todo.put(item)

        def work():
            connection = Connection(Signer(self.address, self.dev["region"], self.dev["access_key_id"], self.dev["secret_access_key"]))
            try:
                while not failures:
                    results.append(call(connection, todo.get_nowait()))
            except Empty:
                pass
            except Exception as error:
                failures.append(error)
            finally:
                connection.close()

        began = time.monotonic()
        threads = [threading.Thread(target=work) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        require(not failures, f"a call failed: {failures[:1]}")
        return time.monotonic() - began, results


def create_cluster(connection, number):
    body = {"clusterName": name_of(number), "serverless": {"vpcConfigs": [{"subnetIds": ["subnet-0a1"]}]}}
    answer = connection.send(Draft("kafka", "POST", "/api/v2/clusters", json.dumps(body).encode()))
    require(answer.status == 200, f"{name_of(number)}: {answer}")
    return json.loads(answer.body)["clusterArn"]


def create_topic(connection, item):
    from urllib.parse import quote

    arn, topic = item
    body = {"topicName": f"topic-{topic}", "partitionCount": PARTITIONS, "replicationFactor": 3}
    path = f"/v1/clusters/{quote(arn, safe='')}/topics"
    answer = connection.send(Draft("kafka", "POST", path, json.dumps(body).encode()))
    require(answer.status == 200, f"topic-{topic} of {arn}: {answer}")


def wait_until_all_active(callers, count):
    """Pages through the whole list until every cluster is ACTIVE."""
    deadline = time.monotonic() + ACTIVE_SECONDS
    signer = Signer(callers.address, callers.dev["region"], callers.dev["access_key_id"], callers.dev["secret_access_key"])
    connection = Connection(signer)
    while True:
        states, token = {}, ""
        while token is not None:
            query = "clusterNameFilter=tenant-&maxResults=100" + (f"&nextToken={token}" if token else "")
            page = json.loads(connection.send(Draft("kafka", "GET", f"/api/v2/clusters?{query}")).body)
            states |= {info["clusterArn"]: info["state"] for info in page["clusterInfoList"]}
            token = page.get("nextToken")
        if len(states) == count and set(states.values()) == {"ACTIVE"}:
            connection.close()
            return
        require(time.monotonic() < deadline, f"{len(states)} clusters, states {set(states.values())}")
        time.sleep(0.2)


def produce_on(fault, server, callers, arn):
    """A client with the bootstrap string as it is told; its topic is one of those that were made."""
    from urllib.parse import quote

    signer = Signer(callers.address, callers.dev["region"], callers.dev["access_key_id"], callers.dev["secret_access_key"])
    answer = signer.send(Draft("kafka", "GET", f"/v1/clusters/{quote(arn, safe='')}/bootstrap-brokers"))
    bootstrap = json.loads(answer.body)["bootstrapBrokerStringSaslIam"]
    command = [sys.executable, HERE / "roundtrip.py", "--bootstrap", bootstrap, "--ca", server.dev["ca_pem_path"], "--topic", "topic-0", "--existing"]
    done = subprocess.run(command, env=server.environment(), capture_output=True, text=True, timeout=ROUND_SECONDS)
    require(done.returncode == 0, f"a client of {arn} ended with {done.returncode}:\n{done.stdout}{done.stderr[-3000:]}")
    fault.say(done.stdout.strip())


def metadata_bytes(server):
    return os.path.getsize(server.data_dir / "metadata.redb")


def play(fault):
    count = fault.arguments.clusters
    configuration = fault.work / "headgate.toml"
    configuration.write_text(
        f"[control]\nsource_requests_per_second = {REQUESTS_PER_SECOND}\nprincipal_requests_per_second = {REQUESTS_PER_SECOND}\n"
    )
    server = DevServer(fault.arguments.headgate, fault.work / "data", fault.work / "server.log", ["--config", str(configuration)])
    with server:
        time.sleep(SETTLE_SECONDS)
        before = server.resident_bytes()
        callers = Callers(server)
        cluster_seconds, arns = callers.each(range(count), create_cluster)
        wait_until_all_active(callers, count)
        fault.say(f"{count} clusters in {cluster_seconds:.1f} s")
        topic_seconds, _ = callers.each([(arn, topic) for arn in arns for topic in range(TOPICS)], create_topic)
        fault.say(f"{count * TOPICS} topics in {topic_seconds:.1f} s")
        time.sleep(SETTLE_SECONDS)
        in_use = server.resident_bytes()
        for arn in random.sample(arns, SAMPLES):
            produce_on(fault, server, callers, arn)
        server.stop()
        restart_seconds = server.start()
        wait_until_all_active(callers, count)
        time.sleep(SETTLE_SECONDS)
        idle = server.resident_bytes()
        for arn in random.sample(arns, SAMPLES):
            produce_on(fault, server, callers, arn)
        figures = {
            "clusters": count,
            "topics": count * TOPICS,
            "partitions": count * TOPICS * PARTITIONS,
            "clusters_per_second": round(count / cluster_seconds),
            "topics_per_second": round(count * TOPICS / topic_seconds),
            "resident_kib_per_cluster_just_made": round((in_use - before) / count / KIB, 1),
            "resident_kib_per_idle_cluster": round((idle - before) / count / KIB, 1),
            "metadata_bytes_per_cluster": round(metadata_bytes(server) / count),
            "restart_seconds": round(restart_seconds, 2),
        }
        require(figures["resident_kib_per_idle_cluster"] < fault.arguments.kib, f"an idle cluster costs too much: {figures}")
        return json.dumps(figures)


if __name__ == "__main__":
    fault = Fault(
        __doc__.splitlines()[0],
        clusters={"type": int, "default": 1_000, "help": "how many"},
        kib={"type": float, "default": 16.0, "help": "resident memory that one idle cluster may cost"},
    )
    sys.exit(fault.main("many-clusters", play))

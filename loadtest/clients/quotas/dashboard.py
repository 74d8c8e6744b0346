#!/usr/bin/env python3
"""The dashboard of quotas: Prometheus scrapes a server whose clients meet their quotas, and every panel must show something.

What is asked of Prometheus is what stands in `deploy/dashboards/quotas.json`, with Grafana's variables filled in.
"""

import json
import math
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from confluent_kafka import KafkaException  # noqa: E402
from harness.fault import Broken, Fault, require  # noqa: E402
from harness.ports import free_range  # noqa: E402
from harness.server import DevServer  # noqa: E402
from tenant import Heard, Tenant, consume, produce  # noqa: E402

DASHBOARD = Path(__file__).resolve().parents[3] / "deploy" / "dashboards" / "quotas.json"
SCRAPE_SECONDS = 1
LOAD_SECONDS = 20
PATIENCE_SECONDS = 60
QUOTA = 2 * 2**20


def play(fault):
    first = free_range(2)
    arguments = ["--listen-tenant-metrics", f"127.0.0.1:{first}"]
    with DevServer(fault.arguments.headgate, fault.work / "data", fault.work / "server.log", arguments) as server:
        targets = [f"127.0.0.1:{server.api_port}", f"127.0.0.1:{first}"]
        with Prometheus(fault.work, first + 1, targets) as prometheus, ThreadPoolExecutor() as pool:
            tenant = Tenant(server)
            topic = tenant.topic(8)
            refusals(tenant, topic)
            loads = [pool.submit(load, tenant, topic, LOAD_SECONDS, 8_000) for load in (produce, consume)]
            fault.say("quotas are met")
            queries = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
            shown = {query: until_shown(prometheus, *query) for query in queries}
            # While the clients are held to their quotas, these say so.
            by_title = {title: query for title, query in reversed(queries)}
            until_shown(prometheus, "Bytes in", by_title["Bytes in"], lambda values: QUOTA / 2 < values[0] < 1.1 * QUOTA)
            until_shown(prometheus, "Clusters slowed down now", by_title["Clusters slowed down now"], lambda values: values == [1])
            throttles = [load.result().throttle_ms for load in loads]
    require(min(throttles) > 0, f"the clients were told throttle times of {throttles} ms")
    return f"{len(panels())} panels, {len(queries)} queries, {sum(map(len, shown.values()))} series"


def panels():
    return json.loads(DASHBOARD.read_text())["panels"]


def refusals(tenant, topic):
    """Topics and connections too many."""
    tenant.set(bytes_in_per_second=QUOTA, bytes_out_per_second=QUOTA, partitions_max=8, connections_max=6)
    try:
        tenant.topic(8)
    except KafkaException:
        pass
    else:
        raise Broken("a topic beyond the quota was not refused")
    many = [tenant.producer(Heard()) for _ in range(8)]
    for producer in many:
        producer.produce(topic, b"x")
    for producer in many:
        producer.flush(2)


class Prometheus:
    def __init__(self, work, port, targets):
        self.url, self.work = f"http://127.0.0.1:{port}", work
        config = {"global": {"scrape_interval": f"{SCRAPE_SECONDS}s"}}
        config |= {"scrape_configs": [{"job_name": "headgate", "static_configs": [{"targets": targets}]}]}
        # JSON is YAML too.
        (work / "prometheus.yml").write_text(json.dumps(config))
        self.command = ["prometheus", f"--config.file={work / 'prometheus.yml'}", f"--storage.tsdb.path={work / 'prometheus'}"]
        self.command += [f"--web.listen-address=127.0.0.1:{port}"]

    def __enter__(self):
        with (self.work / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)

    def query(self, text):
        """The values of an instant query."""
        words = urllib.parse.urlencode({"query": text})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
        return [float(series["value"][1]) for series in result]


def until_shown(prometheus, title, query, is_enough=bool):
    for variable, value in (("$cluster", ".*"), ("$__rate_interval", "10s")):
        query = query.replace(variable, value)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            values = prometheus.query(query)
        except OSError as error:
            values, reason = [], error
        else:
            reason = f"{values}"
        if values and all(map(math.isfinite, values)) and is_enough(values):
            return values
        require(time.monotonic() < deadline, f"`{title}` shows {reason}: {query}")
        time.sleep(SCRAPE_SECONDS)


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("dashboard", play))

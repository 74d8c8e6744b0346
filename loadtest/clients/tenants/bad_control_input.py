"""Everything a control API must refuse, in the shape AWS refuses it, and one caller that asks 10,000 times a second: beside it a
producer and a consumer work on, and nothing of the tenancy changes."""

import json
import re
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from flood import Flood  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.loadtest import Load, run, wait_for_acknowledgements  # noqa: E402
from harness.server import DevServer  # noqa: E402
from http_signing import Draft, Signer  # noqa: E402

FLOOD_SECONDS = 10
PRODUCE_SECONDS = 120
VERIFY_SECONDS = 120
SERVERLESS = {"vpcConfigs": [{"subnetIds": ["subnet-0a1"]}]}
CREATE = json.dumps({"clusterName": "x", "serverless": SERVERLESS}).encode()
ALLOW = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def create(body=CREATE, **headers):
    return Draft("kafka", "POST", "/api/v2/clusters", body, headers)


def kafka(method, path, body=b""):
    return Draft("kafka", method, path, body)


def iam(action, **parameters):
    from urllib.parse import urlencode

    body = urlencode({"Action": action, "Version": "2010-05-08"} | parameters).encode()
    return Draft("iam", "POST", "/", body, {"content-type": "application/x-www-form-urlencoded"})


def policy(*statements, version="2012-10-17"):
    return json.dumps({"Version": version, "Statement": list(statements)})


class Inputs:
    """Each method sends one family; every answer must be refused with a code of this family."""

    def __init__(self, server):
        dev = server.dev
        self.address, self.dev = dev["api_url"].removeprefix("http://"), dev
        self.signer = Signer(self.address, dev["region"], dev["access_key_id"], dev["secret_access_key"])
        self.sent = 0

    def refused(self, name, answer, *codes):
        self.sent += 1
        shaped = answer.code in codes and 400 <= answer.status < 500
        shaped = shaped and answer.headers.get("x-amzn-requestid") and answer.headers.get("date")
        if "x-amzn-errortype" in answer.headers:
            shaped = shaped and isinstance(json.loads(answer.body).get("message"), str)
        else:
            shaped = shaped and re.search(r"<ErrorResponse .*<Message>.+</Message>", answer.body, re.DOTALL)
        require(shaped, f"{name}: one of {codes} is expected, not {answer}")

    def signatures(self):
        draft, send = create(), self.signer.send
        self.refused("unsigned", send(draft, {}), "MissingAuthenticationTokenException")
        self.refused("unsigned query", send(iam("ListUsers"), {}), "MissingAuthenticationToken")
        stranger = Signer(self.address, self.dev["region"], "AKIANOBODY0000000000", "secret")
        self.refused("unknown key", stranger.send(draft), "UnrecognizedClientException")
        wrong = Signer(self.address, self.dev["region"], self.dev["access_key_id"], "wrong")
        self.refused("wrong secret", wrong.send(draft), "InvalidSignatureException")
        self.refused("wrong secret, query", wrong.send(iam("ListUsers")), "SignatureDoesNotMatch")
        for seconds in (-600, 600, -86_400 * 365):
            late = send(draft, self.signer.signed(draft, seconds_off=seconds))
            self.refused(f"signed {seconds} s off", late, "InvalidSignatureException")
            require(re.search(r"\d{8}T\d{6}Z .* \d{8}T\d{6}Z", late.body), f"both times are told: {late.body}")
        elsewhere = self.signer.signed(draft, region="mars-north-1")
        self.refused("another region", send(draft, elsewhere), "InvalidSignatureException")
        other = Draft("s3", "POST", draft.path, draft.body)
        self.refused("another service", send(other), "InvalidSignatureException", "SignatureDoesNotMatch")
        headers = self.signer.signed(draft)
        replayed = create(CREATE.replace(b'"x"', b'"y"'))
        self.refused("replayed with another body", send(replayed, headers), "InvalidSignatureException")
        self.refused("replayed on another path", send(kafka("POST", "/v1/clusters", CREATE), headers), "InvalidSignatureException")
        for payload in ("UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "0" * 64):
            unsigned = create(**{"x-amz-content-sha256": payload})
            self.refused(payload, send(unsigned), "InvalidSignatureException")
        broken = dict(headers) | {"authorization": headers["authorization"].replace("Signature=", "Sig=")}
        self.refused("half a signature", send(draft, broken), "IncompleteSignatureException")
        token = create(**{"x-amz-security-token": "FwoGtoken"})
        self.refused("a token that is none", send(token), "UnrecognizedClientException")

    def sizes(self):
        big = create(b'{"clusterName":"' + b"x" * (1 << 20) + b'"}')
        self.refused("oversized", self.signer.send(big), "RequestEntityTooLargeException")
        huge = create(b"x" * (8 << 20))
        self.refused("oversized and unsigned", self.signer.send(huge, {}), "RequestEntityTooLargeException")
        long = json.dumps({"clusterName": "n" * 65, "serverless": SERVERLESS}).encode()
        self.refused("a long name", self.signer.send(create(long)), "BadRequestException")

    def bodies(self):
        send = self.signer.send
        for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"clusterName":' + b"[" * 10_000, b'{"clusterName":7}'):
            self.refused(f"{body[:20]!r}", send(create(body)), "BadRequestException")
        for unknown in ({"clusterNme": "x"}, {"clusterName": "x", "colour": "red"}, {"clusterName": "x", "serverless": SERVERLESS | {"a": 1}}):
            self.refused(f"unknown field in {unknown}", send(create(json.dumps(unknown).encode())), "BadRequestException")
        tags = {"clusterName": "x", "serverless": SERVERLESS, "tags": {"aws:own": "y"}}
        self.refused("reserved tags", send(create(json.dumps(tags).encode())), "BadRequestException")
        for query in ("maxResults=0", "maxResults=x", "nextToken=%00", "nextToken=%2A%2A%2A", "%"):
            answer = send(kafka("GET", f"/api/v2/clusters?{query}"))
            self.refused(f"?{query}", answer, "BadRequestException", "IncompleteSignatureException")

    def paths(self):
        arn = "arn%3Aaws%3Akafka%3Aus-east-1%3A1%3Acluster%2Fdemo%2Fu"
        codes = ("BadRequestException", "NotFoundException", "UnknownOperationException", "IncompleteSignatureException")
        for path in (
            f"/v1/clusters/{arn.replace('%2F', '/')}",
            f"/v1/clusters/{arn.replace('%', '%25')}",
            f"/v1/clusters/{arn}/../../../api/v2/clusters",
            f"/v1/clusters/..%2F..%2Fapi%2Fv2%2Fclusters/{arn}",
            "/v1/clusters/%2e%2e/clusters",
            "//api/v2/clusters",
            "/api/v2/clusters/",
            "/api/v2/clusters/%00",
            "/api/v2/clusters/%ff%fe",
            "/api/v2/clusters/%zz",
            "/api%2Fv2%2Fclusters",
            f"/v1/clusters/{arn}%2Fpolicy",
            f"/v1/clusters/{arn}/policy%2F",
            "/api/v2/clusters/" + "a" * 8_000,
        ):
            self.refused(path[:80], self.signer.send(kafka("GET", path)), *codes)

    def policies(self):
        send = self.signer.send
        require(send(iam("CreateUser", UserName="ann")).status == 200, "ann is created")
        named = {"UserName": "ann", "PolicyName": "p"}
        for text in ("", "{", "[]", "{}", policy(), policy(ALLOW, version="2030-01-01"), policy({"Effect": "Maybe", "Action": "*", "Resource": "*"}),
                     policy(ALLOW | {"Principal": "*"}), policy(ALLOW | {"Action": "nonsense"}), policy(ALLOW | {"Extra": 1}),
                     policy(ALLOW | {"Condition": {"Like": {"a": "b"}}}), '{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}'):  # fmt: skip
            answer = send(iam("PutUserPolicy", PolicyDocument=text, **named))
            self.refused(f"policy {text[:60]!r}", answer, "MalformedPolicyDocument", "ValidationError")
        for size in (6_200, 140_000):
            text = policy(ALLOW | {"Resource": "arn:aws:kafka:::" + "x" * size})
            self.refused(f"a policy of {size}", send(iam("PutUserPolicy", PolicyDocument=text, **named)), "LimitExceeded")
        require(send(iam("ListUserPolicies", UserName="ann")).body.count("<member>") == 0, "no policy was kept")
        from urllib.parse import quote

        path = f"/v1/clusters/{quote(self.dev['cluster_arn'], safe='')}/policy"
        for text in ("{", policy(ALLOW), policy(ALLOW | {"Principal": {"AWS": "*"}, "Resource": "arn:aws:kafka:::" + "x" * 21_000})):
            body = json.dumps({"policy": text}).encode()
            self.refused(f"cluster policy {text[:60]!r}", send(kafka("PUT", path, body)), "BadRequestException")
        require(send(kafka("GET", path)).status == 404, "no cluster policy was kept")
        require(send(iam("DeleteUser", UserName="ann")).status == 200, "ann is deleted")

    def state(self):
        """What must not change: the clusters and the users."""
        clusters = json.loads(self.signer.send(kafka("GET", "/api/v2/clusters")).body)["clusterInfoList"]
        users = self.signer.send(iam("ListUsers")).body
        return [cluster["clusterName"] for cluster in clusters], re.findall(r"<UserName>(.*?)</UserName>", users)


def throttled(fault, inputs):
    """10,000 requests a second of one principal, as far as this machine can send them."""
    flood = Flood(inputs.address, inputs.signer.raw(kafka("GET", "/v1/kafka-versions")), FLOOD_SECONDS).run()
    require(not flood.failures, f"the connections of the flood broke: {flood.failures}")
    refused = flood.statuses.get(429, 0)
    require(set(flood.statuses) == {200, 429} and refused > flood.statuses[200], f"answers by status: {flood.statuses}")
    answers = [inputs.signer.send(draft) for _ in range(20) for draft in (kafka("GET", "/v1/kafka-versions"), iam("ListUsers"))]
    time.sleep(2)
    require(inputs.signer.send(kafka("GET", "/v1/kafka-versions")).status == 200, "the caller is served again")
    codes = {answer.code for answer in answers if answer.status != 200}
    require(codes <= {"TooManyRequestsException", "Throttling"}, codes)
    fault.say(f"{flood.rate:.0f} requests a second for {FLOOD_SECONDS} s: {flood.statuses}")
    return f"a flood of {flood.rate:.0f}/s got {flood.statuses[200]} answers and {refused} throttles"


def play(fault):
    with DevServer(fault.arguments.headgate, fault.work / "data", fault.work / "server.log") as server:
        inputs = Inputs(server)
        before = inputs.state()
        journal, loadtest = fault.work / "journal", fault.arguments.loadtest
        words = ["produce", "--topic", "beside", "--partitions", 4, "--rate", 500, "--journal", journal, "--seconds", PRODUCE_SECONDS]
        load = Load(loadtest, server, fault.work, "produce", words)
        try:
            wait_for_acknowledgements(journal, 50, load, PRODUCE_SECONDS)
            for family in (inputs.signatures, inputs.sizes, inputs.bodies, inputs.paths, inputs.policies):
                family()
                time.sleep(1)  # The families together would be a flood of their own.
            flood = throttled(fault, inputs)
            wait_for_acknowledgements(journal, 50, load, PRODUCE_SECONDS)
            require(load.is_running(), "the producer works on")
            load.interrupt()
            produced = load.finish(PRODUCE_SECONDS)
        finally:
            load.end()
        verified = run(loadtest, server, fault.work, "verify", ["verify", "--journal", journal, "--topic", "beside"], VERIFY_SECONDS)
        require(inputs.state() == before, f"the tenancy changed: {before} became {inputs.state()}")
        require("panicked" not in server.log.read_text(errors="replace"), "the server panicked")
        fault.say(json.dumps({key: value for key, value in produced.items() if not isinstance(value, (list, dict))})[:500])
        require(verified is not None, "the records were verified")
        return f"{inputs.sent} bad requests were refused in AWS's words; {flood}"


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("bad-control-input", play))

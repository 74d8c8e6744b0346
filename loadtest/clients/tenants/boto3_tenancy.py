"""boto3, with its validation on, opens clusters, topics, users, groups and roles; a Kafka client works with a role's temporary
credentials, sees its session end with them, and goes on after it has authenticated again. Every answer is held against
botocore's models."""

import json
import sys
import time
from base64 import b64decode, b64encode
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "denials")]

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

from frames import RawConnection  # noqa: E402
from harness.fault import Fault, require  # noqa: E402
from harness.server import DevServer  # noqa: E402
from signing import Keys, Login  # noqa: E402
import every_operation  # noqa: E402
import strict  # noqa: E402
from recorder import Recorder  # noqa: E402

ACTIVE_SECONDS = 60
# How long the server lets a role's credentials live here: long enough to work, short enough to see them end.
ROLE_SECONDS = 20
PRODUCE_SECONDS = 50
SERVERLESS = {"VpcConfigs": [{"SubnetIds": ["subnet-0a1", "subnet-0b2"]}]}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions, resources="*"):
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def code_of(call, **parameters):
    """The error code that a call is refused with."""
    try:
        call(**parameters)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def expect(code, call, **parameters):
    found = code_of(call, **parameters)
    require(found == code, f"{call.__name__}({parameters}): {code} is expected, not {found}")


class Tools:
    """The clients of one identity."""

    def __init__(self, recorder, region, keys):
        settings = {
            "endpoint_url": recorder.url,
            "region_name": region,
            "aws_access_key_id": keys.access_key_id,
            "aws_secret_access_key": keys.secret,
            "aws_session_token": keys.session_token,
            "config": Config(parameter_validation=True, retries={"max_attempts": 3, "mode": "standard"}),
        }
        self.kafka, self.iam, self.sts = (boto3.client(name, **settings) for name in ("kafka", "iam", "sts"))

    def create_cluster(self, name):
        arn = self.kafka.create_cluster_v2(ClusterName=name, Serverless=SERVERLESS)["ClusterArn"]
        deadline = time.monotonic() + ACTIVE_SECONDS
        while True:
            state = self.kafka.describe_cluster_v2(ClusterArn=arn)["ClusterInfo"]["State"]
            if state == "ACTIVE":
                return arn
            require(state == "CREATING" and time.monotonic() < deadline, f"{name} is {state}")
            time.sleep(0.05)


def checker_can_fail(recorder):
    """A checker that finds nothing wrong in wrong answers would prove nothing."""
    operation, status, headers, body = next(entry for entry in recorder.answers if entry[0].name == "DescribeClusterV2")
    info = json.loads(body)
    for change in ({"unknown": 1}, {"clusterName": 7}, {"state": "SLEEPING"}, {"creationTime": "today"}):
        altered = {"clusterInfo": info["clusterInfo"] | change}
        require(is_refused(operation, status, headers, json.dumps(altered)), f"the checker lets {change} pass")
    require(is_refused(operation, 404, headers | {"x-amzn-errortype": "Odd"}, '{"message":"m"}'), "it lets an odd error pass")
    operation, status, headers, body = next(entry for entry in recorder.answers if entry[0].name == "GetUser" and entry[1] == 200)
    for was, becomes in (("<UserId>", "<Unknown>"), ("Z</CreateDate>", "</CreateDate>")):
        altered = body.replace(was, becomes).replace(was.replace("<", "</"), becomes.replace("<", "</"))
        require(is_refused(operation, status, headers, altered), f"the checker lets {becomes} pass")


def is_refused(operation, status, headers, body):
    try:
        strict.check(operation, status, headers, body)
    except strict.Mismatch:
        return True
    return False


def clusters(fault, tools):
    arn = tools.create_cluster("orders")
    for number in range(3):
        tools.create_cluster(f"page-{number}")
    pages = tools.kafka.get_paginator("list_clusters_v2").paginate(ClusterNameFilter="page-", PaginationConfig={"PageSize": 2})
    names = [info["ClusterName"] for page in pages for info in page["ClusterInfoList"]]
    require(names == ["page-0", "page-1", "page-2"], names)
    expect("ConflictException", tools.kafka.create_cluster_v2, ClusterName="orders", Serverless=SERVERLESS)
    bootstrap = tools.kafka.get_bootstrap_brokers(ClusterArn=arn)["BootstrapBrokerStringSaslIam"]
    fault.say(f"{arn} at {bootstrap}")
    return arn, bootstrap


def lost_answer(tools, recorder):
    """The answer of a creation is lost; the SDK tries again and is told of the cluster it has made, not of a taken name."""
    recorder.lose_answers(1)
    before = recorder.checked
    created = tools.kafka.create_cluster_v2(ClusterName="once", Serverless=SERVERLESS)
    require(recorder.checked - before == 2, f"{recorder.checked - before} attempts reached the server")
    require(created["ClusterArn"].split("/")[1] == "once", created)


def topics(tools, arn):
    kafka = tools.kafka
    configs = b64encode(json.dumps({"retention.ms": "3600000"}).encode()).decode()
    created = kafka.create_topic(ClusterArn=arn, TopicName="clicks", PartitionCount=2, ReplicationFactor=3, Configs=configs)
    require(created["TopicArn"] == arn.replace(":cluster/", ":topic/") + "/clicks", created)
    expect("TopicExistsException", kafka.create_topic, ClusterArn=arn, TopicName="clicks", PartitionCount=2, ReplicationFactor=3)
    expect("BadRequestException", kafka.create_topic, ClusterArn=arn, TopicName="no/topic", PartitionCount=2, ReplicationFactor=3)
    odd = b64encode(b'{"segment.bytes":"1"}').decode()
    expect("BadRequestException", kafka.create_topic, ClusterArn=arn, TopicName="odd", PartitionCount=1, ReplicationFactor=3, Configs=odd)
    kafka.update_topic(ClusterArn=arn, TopicName="clicks", PartitionCount=3)
    described = kafka.describe_topic(ClusterArn=arn, TopicName="clicks")
    require(described["PartitionCount"] == 3 and json.loads(b64decode(described["Configs"])) == {"retention.ms": "3600000"}, described)
    pages = kafka.get_paginator("describe_topic_partitions").paginate(ClusterArn=arn, TopicName="clicks", PaginationConfig={"PageSize": 1})
    require([entry["Partition"] for page in pages for entry in page["Partitions"]] == [0, 1, 2], "three partitions")
    listed = [topic["TopicName"] for page in kafka.get_paginator("list_topics").paginate(ClusterArn=arn) for topic in page["Topics"]]
    require(listed == ["clicks"], listed)
    kafka.delete_topic(ClusterArn=arn, TopicName="clicks")
    expect("NotFoundException", kafka.describe_topic, ClusterArn=arn, TopicName="clicks")


def identities(tools, account):
    """Groups, managed policies, tags and lists, each in both directions."""
    iam = tools.iam
    iam.create_user(UserName="carl", Tags=[{"Key": "team", "Value": "a"}])
    policy = iam.create_policy(PolicyName="reads", PolicyDocument=document(allow("kafka:Describe*")), Description="reads")["Policy"]["Arn"]
    iam.create_group(GroupName="readers")
    iam.add_user_to_group(GroupName="readers", UserName="carl")
    iam.attach_group_policy(GroupName="readers", PolicyArn=policy)
    iam.attach_user_policy(UserName="carl", PolicyArn=policy)
    require([user["UserName"] for user in iam.get_group(GroupName="readers")["Users"]] == ["carl"], "the group has its member")
    found = iam.list_entities_for_policy(PolicyArn=policy)
    require(len(found["PolicyUsers"]) == len(found["PolicyGroups"]) == 1 and not found["PolicyRoles"], found)
    version = iam.create_policy_version(PolicyArn=policy, PolicyDocument=document(allow("kafka:List*")), SetAsDefault=True)
    require(version["PolicyVersion"]["VersionId"] == "v2", version)
    require(iam.get_policy_version(PolicyArn=policy, VersionId="v1")["PolicyVersion"]["Document"]["Statement"], "v1 is there")
    iam.delete_policy_version(PolicyArn=policy, VersionId="v1")
    require(len(iam.list_policy_versions(PolicyArn=policy)["Versions"]) == 1, "one version is left")
    asked = {"PolicySourceArn": f"arn:aws:iam::{account}:user/carl", "ActionNames": ["kafka:ListClustersV2", "kafka:DeleteCluster"]}
    results = iam.simulate_principal_policy(**asked)["EvaluationResults"]
    require([result["EvalDecision"] for result in results] == ["allowed", "implicitDeny"], results)
    deny = {"Effect": "Deny", "Action": "kafka:*", "Resource": "*"}
    results = iam.simulate_custom_policy(PolicyInputList=[document(deny)], ActionNames=["kafka:ListClustersV2"])["EvaluationResults"]
    require(results[0]["EvalDecision"] == "explicitDeny" and results[0]["MatchedStatements"], results)
    for listing in ("list_users", "list_groups", "list_roles", "list_policies"):
        for _page in iam.get_paginator(listing).paginate(PaginationConfig={"PageSize": 1}):
            pass
    require(iam.list_user_tags(UserName="carl")["Tags"] == [{"Key": "team", "Value": "a"}], "the tag is there")
    iam.untag_user(UserName="carl", TagKeys=["team"])
    expect("DeleteConflict", iam.delete_user, UserName="carl")
    expect("DeleteConflict", iam.delete_group, GroupName="readers")
    expect("DeleteConflict", iam.delete_policy, PolicyArn=policy)
    iam.remove_user_from_group(GroupName="readers", UserName="carl")
    iam.detach_user_policy(UserName="carl", PolicyArn=policy)
    iam.detach_group_policy(GroupName="readers", PolicyArn=policy)
    iam.delete_group(GroupName="readers")
    iam.delete_user(UserName="carl")
    iam.delete_policy(PolicyArn=policy)
    for waiter, parameters in (("user_exists", {"UserName": "admin"}), ("role_exists", {"RoleName": "producer"})):
        iam.get_waiter(waiter).wait(**parameters, WaiterConfig={"Delay": 1, "MaxAttempts": 3})


def role(tools, account, arn):
    """A role that a user may assume; returns a function that assumes it anew."""
    trust = document({"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"})
    made = tools.iam.create_role(RoleName="producer", AssumeRolePolicyDocument=trust, Tags=[{"Key": "team", "Value": "a"}])["Role"]
    resources = [arn, arn.replace(":cluster/", ":topic/") + "/*", arn.replace(":cluster/", ":group/") + "/*"]
    tools.iam.put_role_policy(RoleName="producer", PolicyName="orders", PolicyDocument=document(allow("kafka-cluster:*", resources)))

    def assume(session_name="s1", **more):
        answer = tools.sts.assume_role(RoleArn=made["Arn"], RoleSessionName=session_name, **more)["Credentials"]
        return Keys(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"]), answer["Expiration"].timestamp()

    return assume


def session_end(fault, server, bootstrap, assume):
    """On the wire: the session ends with the credentials; on the same connection new ones go on, another name does not."""
    region, port, ca = server.dev["region"], int(bootstrap.rpartition(":")[2]), server.dev["ca_pem_path"]
    keys, expires = assume()
    renewing, ending = RawConnection(port, ca), RawConnection(port, ca)
    for connection in (renewing, ending):
        require(connection.authenticate("AWS_MSK_IAM", Login(keys, region).aws_msk_iam()) is None, "logged in")
        left = expires - time.time()
        require(0 < connection.lifetime_ms <= left * 1000 + 1000, f"{connection.lifetime_ms} ms of {left:.1f} s")
        connection.metadata()
    time.sleep(max(0.0, expires - time.time() - 6))
    fresh, _ = assume()
    require(renewing.authenticate("AWS_MSK_IAM", Login(fresh, region).aws_msk_iam()) is None, "authenticated again")
    time.sleep(max(0.0, expires - time.time() + 1))
    renewing.metadata()
    try:
        ending.metadata()
        require(False, "the session outlived its credentials")
    except (EOFError, OSError):
        pass
    refused = RawConnection(port, ca).authenticate("AWS_MSK_IAM", Login(keys, region).aws_msk_iam())
    require(refused and refused.code == 58 and "security token expired" in refused.message, refused)
    other, _ = assume("s2")
    refused = renewing.authenticate("AWS_MSK_IAM", Login(other, region).aws_msk_iam())
    require(refused and "Cannot change principals" in refused.message, f"the session's name is part of who it is: {refused}")
    fault.say("sessions end with their credentials and go on with new ones")


def session_policy(server, bootstrap, assume, arn):
    """What the role may and the session policy does not allow, is denied."""
    narrow = document(allow("kafka-cluster:DescribeTopic"), allow("kafka-cluster:Connect", arn + "-other"))
    keys, _ = assume("narrow", Policy=narrow)
    connection = RawConnection(int(bootstrap.rpartition(":")[2]), server.dev["ca_pem_path"])
    refused = connection.authenticate("AWS_MSK_IAM", Login(keys, server.dev["region"]).aws_msk_iam())
    require(refused and refused.code == 58 and "denied" in refused.message, refused)


def produce_over_expiries(fault, server, bootstrap, assume):
    """A real client works longer than its credentials live: each token is of new ones."""
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
    from botocore.credentials import CredentialProvider, Credentials
    from confluent_kafka import Producer

    assumed = []

    class Assumed(CredentialProvider):
        def load(self):
            keys, expires = assume("confluent")
            assumed.append(expires)
            return Credentials(keys.access_key_id, keys.secret, keys.session_token)

    def token(_config):
        text, _ = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(server.dev["region"], Assumed())
        return text, assumed[-1]

    outcomes = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "OAUTHBEARER",
            "oauth_cb": token,
            "ssl.ca.location": server.dev["ca_pem_path"],
            "acks": "all",
            "enable.idempotence": True,
        }
    )
    began, sent = time.monotonic(), 0
    while time.monotonic() - began < PRODUCE_SECONDS:
        producer.produce("clicks-of-role", value=str(sent).encode(), on_delivery=lambda error, _message: outcomes.append(error))
        sent += 1
        producer.poll(0.05)
    left = producer.flush(30)
    failed = [error for error in outcomes if error]
    require(not left and not failed and len(outcomes) == sent, f"{sent} sent, {left} left, {failed[:3]}")
    require(len(assumed) >= 3, f"credentials of {ROLE_SECONDS} s were renewed {len(assumed) - 1} times in {PRODUCE_SECONDS} s")
    fault.say(f"{sent} records in {PRODUCE_SECONDS} s under {len(assumed)} credentials of {ROLE_SECONDS} s each")


def play(fault):
    configuration = fault.work / "headgate.toml"
    configuration.write_text(f"[control]\nrole_session_ms_max = {ROLE_SECONDS * 1000}\ncluster_removal_delay_ms = 1000\n")
    server = DevServer(fault.arguments.headgate, fault.work / "data", fault.work / "server.log", ["--config", str(configuration)])
    with server, Recorder(server.dev["api_url"], strict.models()) as recorder:
        dev = server.dev
        tools = Tools(recorder, dev["region"], Keys(dev["access_key_id"], dev["secret_access_key"]))
        account = tools.sts.get_caller_identity()["Account"]
        tools.iam.get_user()
        arn, bootstrap = clusters(fault, tools)
        checker_can_fail(recorder)
        lost_answer(tools, recorder)
        topics(tools, arn)
        codes = every_operation.call_all(tools.kafka, strict.models()["kafka"], arn, {"DeleteCluster"})
        unknown = [name for name, code in codes.items() if code == every_operation.UNKNOWN]
        require(not unknown, f"operations that are not known: {unknown}")
        assume = role(tools, account, arn)
        identities(tools, account)
        tools.sts.get_session_token(DurationSeconds=900)
        tools.kafka.create_topic(ClusterArn=arn, TopicName="clicks-of-role", PartitionCount=2, ReplicationFactor=3)
        session_policy(server, bootstrap, assume, arn)
        session_end(fault, server, bootstrap, assume)
        produce_over_expiries(fault, server, bootstrap, assume)
        require(not recorder.mismatches, "answers do not fit the models:\n" + "\n".join(recorder.mismatches))
        return f"{recorder.checked} answers of {len(recorder.operations)} operations fit the models; all {len(codes) + 1} kafka operations are known"


if __name__ == "__main__":
    fault = Fault(__doc__.splitlines()[0])
    sys.exit(fault.main("boto3", play))

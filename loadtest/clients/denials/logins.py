"""Every row of the authentication answers (`gateway/PROTOCOL.md` §7): who sends what, and what the server must say."""

import re
from dataclasses import dataclass

from people import DENY_NAME
from signing import Keys, Login

REGION_OF_NOBODY = "xx-nowhere-1"


@dataclass(frozen=True)
class Row:
    """One refusal. `reason` is a regular expression; `alone` = the text without `Access denied: ` before it."""

    name: str
    reason: str
    login: Login | None = None
    alone: bool = False
    payload: bytes | None = None  # Sent as it is, in place of a signed login.
    mechanisms: tuple = ("AWS_MSK_IAM", "OAUTHBEARER")
    real: bool = True  # Whether a real client can be made to send it with these keys and this clock.
    dialled: str | None = None  # The name a real client dials.
    token: str | None = None  # The token a real client is given.


def rows(cast, region):
    """`Login.host` is the broker's name; the caller replaces it for OAUTHBEARER, unless the row is about hosts."""
    member = Login(cast.member, region)
    iso = r"\d{4}-?\d\d-?\d\dT[\d:.]+Z?"
    wrong_secret = Keys(cast.member.access_key_id, cast.member.secret[::-1])
    mixed = Keys(cast.session.access_key_id, cast.session.secret, cast.other_session.session_token)
    invented = Keys(cast.session.access_key_id, cast.session.secret, "bm90IGEgdG9rZW4")
    return [
        Row("unknown key", r"unknown access key AKIANOBODYATALL00000", member.but(keys=Keys("AKIANOBODYATALL00000", "secret"))),
        Row("inactive key", r"access key is inactive", member.but(keys=cast.idle)),
        Row("wrong secret", r"signature does not match", member.but(keys=wrong_secret)),
        Row(
            "host of nobody",
            r"host stranger\.example is not a name of this cluster",
            member.but(host="stranger.example"),
            dialled="stranger.example",
        ),
        Row("expired", rf"signature expired at {iso}, server time is {iso}", member.but(seconds_off=-1200)),
        Row("signed in the future", r"signed in the future; check the clock", member.but(seconds_off=600)),
        Row("token of another session", r"security token is invalid or belongs to another key", member.but(keys=mixed)),
        Row("invented token", r"security token is invalid or belongs to another key", member.but(keys=invented)),
        Row("expired session", r"security token expired", member.but(keys=cast.expired_session)),
        # Signed 897 of its 900 seconds ago.
        Row("almost expired", r"Session too short", member.but(seconds_off=-897), alone=True),
        Row(
            "connect not allowed",
            r"kafka-cluster:Connect on arn:\S+ denied for arn:\S+user/stranger: no statement allows it",
            member.but(keys=cast.stranger),
        ),
        Row(
            "connect denied",
            rf"kafka-cluster:Connect on arn:\S+ denied for arn:\S+user/barred: explicit deny in .*{DENY_NAME}",
            member.but(keys=cast.barred),
        ),
        Row("another region", r"signed for region|host \S+ is not a name of this cluster", member.but(region=REGION_OF_NOBODY), real=False),
        Row("no JSON", r"Invalid authentication payload", alone=True, payload=b"{", mechanisms=("AWS_MSK_IAM",), real=False),
        Row("a missing field", r"Invalid authentication payload", alone=True, payload=b"{}", mechanisms=("AWS_MSK_IAM",), real=False),
        Row("empty payload", r"Invalid authentication payload", alone=True, payload=b"", real=False),
        Row(
            "no token",
            r"Invalid authentication payload",
            alone=True,
            payload=b"n,,\x01auth=Bearer !!!\x01\x01",
            mechanisms=("OAUTHBEARER",),
            token="bm90IGEgdXJs",
        ),
    ]


def expected_text(row):
    """`[<request-id>]: Access denied: <reason>`, or the reason alone."""
    before = "" if row.alone else "Access denied: "
    return re.compile(rf"\[[^\]]+\]: {before}{row.reason}")

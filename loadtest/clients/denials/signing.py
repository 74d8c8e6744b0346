"""Logins with every part of the signature in the caller's hand, for those that no real client can be made to send."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, replace
from urllib.parse import quote

ACTION = "kafka-cluster:Connect"
ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_HASH = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Keys:
    access_key_id: str
    secret: str
    session_token: str | None = None

    def environment(self):
        variables = {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret}
        return variables | ({"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {})


@dataclass(frozen=True)
class Login:
    """What is signed; each field may be wrong on purpose."""

    keys: Keys
    region: str
    host: str = "localhost"
    seconds_off: int = 0  # How far the client's clock is ahead of ours.
    expires: str = "900"

    def but(self, **changes):
        return replace(self, **changes)

    def signed(self):
        """The query parameters and their signature (AWS Signature Version 4, presigned GET)."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + self.seconds_off))
        scope = f"{moment[:8]}/{self.region}/kafka-cluster/aws4_request"
        query = {
            "Action": ACTION,
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": f"{self.keys.access_key_id}/{scope}",
            "X-Amz-Date": moment,
            "X-Amz-Expires": self.expires,
            "X-Amz-SignedHeaders": "host",
        }
        if self.keys.session_token:
            query["X-Amz-Security-Token"] = self.keys.session_token
        encoded = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items()))
        request = f"GET\n/\n{encoded}\nhost:{self.host}\n\nhost\n{EMPTY_HASH}"
        text = f"{ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self.keys.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return query, encoded, hmac.digest(key, text.encode(), "sha256").hex()

    def aws_msk_iam(self):
        """The bytes of SASL AWS_MSK_IAM."""
        query, _, signature = self.signed()
        payload = {"version": "2020_10_22", "host": self.host, "user-agent": "headgate-denials", "action": ACTION}
        payload |= {name.lower(): value for name, value in query.items() if name.startswith("X-Amz-")}
        return json.dumps(payload | {"x-amz-signature": signature}).encode()

    def oauthbearer(self):
        """The bytes of SASL OAUTHBEARER. The host signed must be the regional name, not the broker's."""
        _, encoded, signature = self.signed()
        url = f"https://{self.host}/?{encoded}&X-Amz-Signature={signature}&User-Agent=headgate-denials"
        token = base64.urlsafe_b64encode(url.encode()).rstrip(b"=")
        return b"n,,\x01auth=Bearer " + token + b"\x01\x01"

"""`s3://`: a request signed in its URL (AWS Signature Version 4), so that `http` resumes it like any other.

The signature is 40 lines that AWS publishes with examples (the tests have them); an SDK would bring its own transfer,
retries and credentials' search. Source: "Authenticating Requests: Using Query Parameters", Amazon S3 API reference.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

from hearth_api.wire.weights import WeightsCode
from hearth_serve.weights.errors import WeightsError
from hearth_serve.weights.remote import Listing, Remote, RemoteFile

_EXPIRES = 7 * 86_400
"""Seconds: the longest that is allowed."""


def list_object(remote: Remote, *, env: Mapping[str, str], now: datetime) -> Listing:
    """Return the one object of a source. Public buckets need no keys."""
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
    url = object_url(remote.host, remote.path, region=region, endpoint=env.get("AWS_ENDPOINT_URL"))
    key, secret = env.get("AWS_ACCESS_KEY_ID", "").strip(), env.get("AWS_SECRET_ACCESS_KEY", "").strip()
    if bool(key) != bool(secret):
        raise WeightsError(
            WeightsCode.GATED,
            f"{remote.source}: of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY one is missing.",
        )
    if key:
        url = presign(url, key=key, secret=secret, region=region, now=now, token=env.get("AWS_SESSION_TOKEN"))
    return Listing(files=(RemoteFile(name=PurePosixPath(remote.path).name, url=url),))


def object_url(bucket: str, key: str, *, region: str, endpoint: str | None) -> str:
    """Return the address: in the path for an own endpoint or a bucket with dots, else in the host's name."""
    path = quote(key, safe="/-_.~")
    if endpoint:
        return f"{endpoint.rstrip('/')}/{bucket}/{path}"
    host = "s3.amazonaws.com" if region == "us-east-1" else f"s3.{region}.amazonaws.com"
    return f"https://{host}/{bucket}/{path}" if "." in bucket else f"https://{bucket}.{host}/{path}"


def presign(
    url: str, *, key: str, secret: str, region: str, now: datetime, token: str | None = None, expires: int = _EXPIRES
) -> str:
    """Return the URL with a signature for GET."""
    parts = urlsplit(url)
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": "host",
    }
    if token:
        query["X-Amz-Security-Token"] = token
    said = "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items()))
    request = f"GET\n{parts.path}\n{said}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signing = f"AWS4{secret}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    return f"{url}?{said}&X-Amz-Signature={hmac.digest(signing, text.encode(), 'sha256').hex()}"

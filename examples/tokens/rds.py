"""A token of AWS for RDS and Aurora (IAM database authentication), signed for one host.

It is valid for 15 minutes, for new connections. The credentials that sign it are those of an EKS
pod (Pod Identity).
"""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import digest
from pathlib import Path
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from pgmoor import Host, Token

USER = "app"


def credentials() -> dict[str, str]:
    authorization = Path(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read_text()
    url = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    with urlopen(Request(url, headers={"Authorization": authorization}), timeout=4) as response:
        found: dict[str, str] = json.load(response)
    return found


def sign(host: Host, region: str, keys: dict[str, str], now: datetime) -> str:
    """Return what `generate_db_auth_token()` of boto3 does: a presigned URL without its scheme."""
    address, date = f"{host.host}:{host.port}", f"{now:%Y%m%d}"
    scope = f"{date}/{region}/rds-db/aws4_request"
    query = {
        "Action": "connect",
        "DBUser": USER,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{keys['AccessKeyId']}/{scope}",
        "X-Amz-Date": f"{now:%Y%m%dT%H%M%SZ}",
        "X-Amz-Expires": "900",
        "X-Amz-Security-Token": keys["Token"],
        "X-Amz-SignedHeaders": "host",
    }
    text = urlencode(query, quote_via=quote, safe="")
    request = f"GET\n/\n{text}\nhost:{address}\n\nhost\n{sha256(b'').hexdigest()}"
    hashed = sha256(request.encode()).hexdigest()
    signed = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashed}"
    key = f"AWS4{keys['SecretAccessKey']}".encode()
    for part in (date, region, "rds-db", "aws4_request"):
        key = digest(key, part.encode(), "sha256")
    return f"{address}/?{text}&X-Amz-Signature={digest(key, signed.encode(), 'sha256').hex()}"


async def password(host: Host) -> Token:
    keys = await asyncio.to_thread(credentials)
    now = datetime.now(UTC)
    value = sign(host, os.environ["AWS_REGION"], keys, now)
    return Token(value, now + timedelta(minutes=15))

"""An access token of Google Cloud for Cloud SQL (IAM database authentication)."""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from pgmoor import Token

METADATA = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
SCOPE = "https://www.googleapis.com/auth/sqlservice.login"


def ask() -> Token:
    path = "computeMetadata/v1/instance/service-accounts/default/token"
    url = f"http://{METADATA}/{path}?{urlencode({'scopes': SCOPE})}"
    with urlopen(Request(url, headers={"Metadata-Flavor": "Google"}), timeout=4) as response:
        found = json.load(response)
    left = timedelta(seconds=found["expires_in"])
    return Token(found["access_token"], datetime.now(UTC) + left)


async def password() -> Token:
    return await asyncio.to_thread(ask)

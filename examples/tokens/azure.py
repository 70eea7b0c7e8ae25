"""A token of Microsoft Entra ID for Azure Database for PostgreSQL, by a managed identity."""

import asyncio
import json
import os
from datetime import UTC, datetime
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from pgmoor import Token

# On a virtual machine: the instance metadata service.
ENDPOINT = os.environ.get("IMDS", "http://169.254.169.254")
SCOPE = "https://ossrdbms-aad.database.windows.net"


def ask() -> Token:
    query = urlencode({"api-version": "2018-02-01", "resource": SCOPE})
    url = f"{ENDPOINT}/metadata/identity/oauth2/token?{query}"
    with urlopen(Request(url, headers={"Metadata": "true"}), timeout=4) as response:
        found = json.load(response)
    return Token(found["access_token"], datetime.fromtimestamp(int(found["expires_on"]), UTC))


async def password() -> Token:
    return await asyncio.to_thread(ask)

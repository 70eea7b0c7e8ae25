"""The password of a static role in HashiCorp Vault's database secrets engine.

Vault rotates it; `ttl` is how many seconds are left until then.
"""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from urllib.request import Request, urlopen

from pgmoor import Token


def ask() -> Token:
    url = f"{os.environ['VAULT_ADDR']}/v1/database/static-creds/app"
    request = Request(url, headers={"X-Vault-Token": os.environ["VAULT_TOKEN"]})
    with urlopen(request, timeout=4) as response:
        data = json.load(response)["data"]
    return Token(data["password"], datetime.now(UTC) + timedelta(seconds=data["ttl"]))


async def password() -> Token:
    return await asyncio.to_thread(ask)  # a plain function would block the event loop

"""A host list from Patroni's REST API, as docs/hosts.md shows it."""

# --8<-- [start:hosts]
import asyncio
import json
import urllib.request


def ask(apis: list[str]) -> list[str]:
    """Return the members' addresses, from the first Patroni node that answers."""
    for api in apis:
        try:
            with urllib.request.urlopen(f"{api}/cluster", timeout=1) as answer:
                members = json.load(answer)["members"]
        except OSError:
            continue
        return sorted(f"{member['host']}:{member['port']}" for member in members)
    raise OSError("no node of Patroni answers")


async def hosts_of(apis: list[str]) -> list[str]:
    """Query Patroni in a thread: urllib would block the event loop."""
    return await asyncio.to_thread(ask, apis)


# --8<-- [end:hosts]

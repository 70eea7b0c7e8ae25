"""pgmoor's log as JSON lines, while a primary is killed and its standby takes over.

    python examples/logs_json.py
    python examples/logs_json.py structlog

It starts two PostgreSQL servers (needs the `testing` extra). In the second form structlog writes
the lines. Filter them: ... | jq 'select(.pgmoor_event == "Failover") | .pgmoor_seconds'
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime

from pgmoor import ConnectionManager
from pgmoor.events import Failover
from pgmoor.testing import Cluster


class JsonFormatter(logging.Formatter):
    """Writes each record as a JSON object on one line, with pgmoor's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key.startswith("pgmoor_")}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def structlog_formatter() -> logging.Formatter:
    """Return structlog's formatter for records of the standard library's logging."""
    import structlog  # noqa: PLC0415  the first form does not need it

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", key="time"),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )


async def lose_the_primary() -> None:
    """Kill the primary, promote its standby, and wait until the manager has failed over."""
    async with Cluster(standbys=1) as cluster:
        moved = asyncio.Event()
        manager = ConnectionManager(
            cluster.conninfo(),
            name="orders",
            on_event=lambda event: moved.set() if isinstance(event, Failover) else None,
        )
        async with manager:
            await manager.wait()
            await cluster[0].kill()
            await cluster[1].promote()
            await moved.wait()
            async with manager.connection() as conn:
                await conn.execute("select 1")


if __name__ == "__main__":
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(structlog_formatter() if "structlog" in sys.argv else JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    asyncio.run(lose_the_primary())

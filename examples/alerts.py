"""Kills a primary, and prints the mails that pgmoor sends about it.

    python examples/alerts.py

It starts two PostgreSQL servers and a mail server, and takes about ten seconds. It needs
`pip install "pgmoor[alerts,testing]"`.
"""

from __future__ import annotations

import asyncio
import email
from email import policy

from pgmoor import ConnectionManager
from pgmoor.alerts import Alerts
from pgmoor.testing import Cluster


class MailServer:
    """Receives mails and prints them. Yours has TLS and a login: mailtos://user:password@..."""

    def __init__(self) -> None:
        self.count = 0
        self._arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak enough SMTP to receive mails."""
        writer.write(b"220 example\r\n")
        while line := await reader.readline():
            command = line[:4].upper()
            if command == b"DATA":
                writer.write(b"354 go on\r\n")
                self.print(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"221 bye\r\n" if command == b"QUIT" else b"250 OK\r\n")
            if command == b"QUIT":
                break
        writer.close()

    def print(self, content: bytes) -> None:
        mail = email.message_from_bytes(content.removesuffix(b".\r\n"), policy=policy.default)
        body = mail.get_content()
        print(f"{'=' * 78}\nSubject: {mail['Subject']}\n\n{body.strip()}\n")
        self.count += 1
        self._arrived.set()

    async def wait(self, count: int) -> None:
        """Wait until *count* mails have arrived."""
        while self.count < count:
            self._arrived.clear()
            await self._arrived.wait()


async def main() -> None:
    mails = MailServer()
    server = await asyncio.start_server(mails.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    channel = f"mailto://127.0.0.1:{port}?from=pgmoor@example.com&to=oncall@example.com"
    alerts = Alerts([channel], after=0.5)  # the default is 5 s
    async with server, Cluster(standbys=1) as cluster, asyncio.timeout(60):
        async with ConnectionManager(cluster.conninfo(), name="orders", alerts=alerts) as manager:
            await manager.wait()
            await cluster[0].kill()
            await mails.wait(1)
            await cluster[1].promote()
            await mails.wait(2)
            await cluster[1].kill()
            await mails.wait(3)
        # Closing the manager sends a fourth: it will not report the end of the outage.
        assert mails.count == 4


if __name__ == "__main__":
    asyncio.run(main())

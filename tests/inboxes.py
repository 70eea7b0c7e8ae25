"""Servers that accept messages and keep them: SMTP with STARTTLS and a login, and HTTP."""

from __future__ import annotations

import asyncio
import email
import json
import os
import re
import ssl
import threading
from contextlib import contextmanager
from email import policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from support import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

USER, PASSWORD = "app", "hunter2-c0rrect"


class Mailbox:
    """What an SMTP server has accepted."""

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []
        self.logins: list[bytes] = []
        self.encrypted: list[bool] = []
        self.refusing = False

    @property
    def subjects(self) -> list[str]:
        """The subjects so far, without the manager's name."""
        return [re.sub(r"^[\w-]+: ", "", mail["Subject"]) for mail in self.mails]

    async def count(self, wanted: int, timeout: float = 10) -> None:
        """Wait until so many mails have come."""
        await until(lambda: len(self.mails) >= wanted, timeout)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Accept a mail, for aiosmtpd."""
        if self.refusing:
            return "451 4.3.0 Try again later"
        self.encrypted.append(session.ssl is not None)
        mail = email.message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append(mail)
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, how: str, data: Any) -> Any:
        """Check a login, for aiosmtpd."""
        self.logins.append(data.login)
        good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=good, handled=False)


class AnyPort(Controller):
    """A controller that learns which port the system has chosen."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def mail_server(folder: Path) -> Iterator[Mailbox]:
    """Run an SMTP server that demands STARTTLS and a login; its CA is in ca.pem of *folder*."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(os.fspath(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    box = Mailbox()
    controller = AnyPort(
        box,
        hostname="127.0.0.1",
        port=0,
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=box.authenticate,
    )
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()


class Webhook:
    """What was posted to an HTTP server, and how it answers."""

    def __init__(self) -> None:
        self.port = 0
        self.posts: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200
        self.silent = threading.Event()  # while it is set, requests get no complete answer
        self.released = threading.Event()  # ends the silence

    @property
    def titles(self) -> list[str]:
        """The titles so far, without the manager's name."""
        return [re.sub(r"^[\w-]+: ", "", post["title"]) for post in self.posts]

    async def count(self, wanted: int, timeout: float = 10) -> None:
        """Wait until so many posts have come."""
        await until(lambda: len(self.posts) >= wanted, timeout)


@contextmanager
def web_server() -> Iterator[Webhook]:
    """Run an HTTP server."""
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.paths.append(self.path)
            hook.posts.append(json.loads(body))
            if hook.silent.is_set():
                # An endless answer, drop by drop, which no timeout for a single read notices.
                self.wfile.write(b"HTTP/1.0 200 OK\r\n")
                while not hook.released.wait(0.5):
                    self.wfile.write(b"X: x\r\n")
                return
            self.send_response(hook.status)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.released.set()
        server.shutdown()
        server.server_close()
        thread.join()

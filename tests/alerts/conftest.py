"""A mail server and a web server for the tests that send real messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inboxes import Mailbox, Webhook, mail_server, web_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mailbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """Run a mail server with STARTTLS, a login and a trusted certificate."""
    with mail_server(tmp_path) as box:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        yield box


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Run a web server that accepts posts."""
    with web_server() as hook:
        yield hook

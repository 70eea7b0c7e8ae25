from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inboxes import PASSWORD, USER, mail_server, web_server
from pgmoor.testing._ports import free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]

SECRET = "Zq9xW7vK2m"
ADDRESSES = "from=pgmoor@example.com&to=oncall@example.com"


def test_each_channel_gets_a_message_and_a_row(
    pgmoor: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with mail_server(tmp_path) as box, web_server() as hook:
        process = pgmoor(
            "alert-test",
            f"mailtos://{USER}:{PASSWORD}@localhost:{box.port}?{ADDRESSES}",
            f"json://127.0.0.1:{hook.port}/{SECRET}",
        )

        out, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if "sent" in line]
    assert [row[:3] for row in rows] == [["mailtos", "(1)", "sent"], ["json", "(2)", "sent"]]
    assert box.mails[0]["Subject"] == "pgmoor: test message"
    assert "This is a test of pgmoor's alerts" in box.mails[0].get_content()
    assert hook.titles == ["test message"]
    assert PASSWORD not in out
    assert SECRET not in out


def test_urls_may_come_from_the_environment(pgmoor: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server() as hook:
        url = f"json://127.0.0.1:{hook.port}/"
        monkeypatch.setenv("PGMOOR_ALERTS", f"{url} {url}")
        process = pgmoor("alert-test")

        process.communicate(timeout=20)

    assert process.returncode == 0
    assert len(hook.posts) == 2


def test_a_failure_is_shown_with_its_reason_and_without_secrets(
    pgmoor: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with mail_server(tmp_path) as box, web_server() as hook:
        process = pgmoor(
            "alert-test",
            f"mailtos://{USER}:{SECRET}@localhost:{box.port}?{ADDRESSES}",
            f"json://127.0.0.1:{hook.port}/",
            f"json://{SECRET}:{SECRET}@127.0.0.1:{free_port()}/{SECRET}",
        )

        out, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (1, "")
    assert [word for word in out.split() if word in {"sent", "failed"}] == [
        "failed",
        "sent",
        "failed",
    ]
    assert "535" in out
    assert "refused" in out
    assert SECRET not in out


def test_a_channel_without_an_answer_fails_after_the_timeout(pgmoor: Start) -> None:
    with web_server() as hook:
        hook.silent.set()
        process = pgmoor("alert-test", f"json://127.0.0.1:{hook.port}/", "--timeout", "0.3")

        out, _ = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "no answer within 0.3 s" in out


@pytest.mark.parametrize("urls", [[], [f"mailtos://app:{SECRET}@"], [f"{SECRET}://x"]])
def test_an_unusable_url_is_refused_in_one_line_and_not_quoted(
    pgmoor: Start, urls: list[str]
) -> None:
    process = pgmoor("alert-test", *urls)

    out, err = process.communicate(timeout=20)

    assert (process.returncode, out) == (2, "")
    assert err.startswith("pgmoor: alerts: ")
    assert err.count("\n") == 1
    assert SECRET not in err

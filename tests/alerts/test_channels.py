"""One message over real SMTP and HTTP: how it arrives, why it fails, and what is logged of it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from canary import CANARY, traces
from inboxes import PASSWORD, USER, Mailbox, Webhook
from pgmoor.alerts._apprise_logs import captured
from pgmoor.alerts._channels import AppriseChannel, make_channels
from pgmoor.alerts._kinds import Message
from pgmoor.testing._ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "Zq9xW7vK2m"
ADDRESSES = "from=pgmoor@example.com&to=oncall@example.com"
MESSAGE = Message("failure", "orders: outage", "Line 1 <b>&amp; not HTML</b>\nLine 2\n\nLine 3 äöü")


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Log all that there is, down to Apprise's TRACE and urllib3's requests."""
    names = ("apprise", "urllib3", "requests")
    for name in names:
        logging.getLogger(name).setLevel(1)
    caplog.set_level(1)
    logging.getLogger("mail.log").disabled = True  # the mail server's own
    yield caplog
    logging.getLogger("mail.log").disabled = False
    for name in names:
        logging.getLogger(name).setLevel(logging.NOTSET)


def channel(url: str) -> AppriseChannel:
    (made,) = make_channels([url])
    return made


def mail_url(box: Mailbox, password: str = PASSWORD) -> str:
    return f"mailtos://{USER}:{quote(password, safe='')}@localhost:{box.port}?{ADDRESSES}"


def test_a_mail_is_plain_text_over_starttls_with_a_login(
    mailbox: Mailbox, everything: pytest.LogCaptureFixture
) -> None:
    assert channel(mail_url(mailbox)).send(MESSAGE) is None

    (mail,) = mailbox.mails
    assert (mailbox.logins, mailbox.encrypted) == ([USER.encode()], [True])
    assert mail["Subject"] == "orders: outage"
    assert (mail["From"], mail["To"]) == ("pgmoor@example.com", "oncall@example.com")
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == MESSAGE.text.splitlines()
    assert everything.text == ""


def test_a_mail_comes_from_pgmoor_unless_it_is_said_otherwise(mailbox: Mailbox) -> None:
    url = f"mailtos://{USER}:{PASSWORD}@example.com:{mailbox.port}?smtp=localhost&to=on@call.org"

    assert channel(url).send(MESSAGE) is None

    assert mailbox.mails[0]["From"] == "pgmoor <app@example.com>"


def test_a_certificate_that_is_not_trusted_is_refused(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, everything: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    failure = channel(mail_url(mailbox)).send(MESSAGE)

    assert failure is not None
    assert "certificate verify failed" in failure
    assert mailbox.mails == []


def test_a_certificate_may_be_trusted_blindly(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    assert channel(mail_url(mailbox) + "&verify=no").send(MESSAGE) is None


def test_a_rejected_login_says_so_and_not_with_what(
    mailbox: Mailbox, everything: pytest.LogCaptureFixture
) -> None:
    password = CANARY.encode("ascii", "ignore").decode()  # smtplib takes no others
    failure = channel(mail_url(mailbox, password)).send(MESSAGE)

    assert failure is not None
    assert "535" in failure
    assert "localhost" in failure
    assert traces(failure, everything.text) == []


def test_without_debug_logs_a_failure_names_the_server(mailbox: Mailbox) -> None:
    mailbox.refusing = True

    failure = channel(mail_url(mailbox)).send(MESSAGE)

    assert failure == 'Sending email to "oncall@example.com" failed'


def test_what_a_plugin_raises_is_told_by_its_kind_only(mailbox: Mailbox) -> None:
    message = Message("info", "title", "a lone surrogate: \ud800")

    assert channel(mail_url(mailbox)).send(message) == "UnicodeEncodeError"


def test_a_post_has_title_text_and_severity(
    webhook: Webhook, everything: pytest.LogCaptureFixture
) -> None:
    assert channel(f"json://127.0.0.1:{webhook.port}/{TOKEN}?-key={TOKEN}").send(MESSAGE) is None

    (post,) = webhook.posts
    assert webhook.paths == [f"/{TOKEN}?key={TOKEN}"]
    assert (post["title"], post["message"], post["type"]) == (
        MESSAGE.title,
        MESSAGE.text,
        "failure",
    )
    assert everything.text == ""


@pytest.mark.parametrize("severity", ["info", "success", "warning", "failure"])
def test_each_severity_is_one_of_apprise(webhook: Webhook, severity: str) -> None:
    message = Message(severity, "title", "text")  # type: ignore[arg-type]

    assert channel(f"json://127.0.0.1:{webhook.port}/").send(message) is None

    assert webhook.posts[0]["type"] == severity


def test_a_status_is_the_reason(webhook: Webhook) -> None:
    webhook.status = 503

    failure = channel(f"json://127.0.0.1:{webhook.port}/{TOKEN}").send(MESSAGE)

    assert failure is not None
    assert "503" in failure
    assert TOKEN not in failure


def test_a_refused_connection_shows_no_part_of_the_url(
    everything: pytest.LogCaptureFixture,
) -> None:
    secret = quote(CANARY, safe="")
    url = f"json://{secret}:{secret}@127.0.0.1:{free_port()}/{TOKEN}/{secret}?-key={secret}"

    failure = channel(url).send(MESSAGE)

    assert failure is not None
    assert "127.0.0.1" in failure
    assert "Connection refused" in failure
    assert TOKEN not in failure + everything.text
    assert traces(failure, everything.text) == []


def test_a_token_in_the_place_of_the_server_is_not_shown() -> None:
    made = channel(f"schan://{TOKEN * 3}")

    assert TOKEN not in made.label + repr(made)


def test_two_messages_follow_each_other_at_once(mailbox: Mailbox) -> None:
    # Apprise itself waits 5.5 s between two mails: a close that flushes has not that long.
    made = channel(mail_url(mailbox))
    done = threading.Event()

    def send() -> None:
        assert [made.send(MESSAGE), made.send(MESSAGE)] == [None, None]
        done.set()

    threading.Thread(target=send, daemon=True).start()

    assert done.wait(4)


def test_what_other_threads_log_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("urllib3.connectionpool")

    def speak() -> None:
        logger.warning("from another thread")

    with captured():
        logger.warning("from this one")
        other = threading.Thread(target=speak)
        other.start()
        other.join()
    logger.warning("later")

    assert [record.message for record in caplog.records] == ["from another thread", "later"]

"""One message over real SMTP and HTTP: how it arrives, why it fails, and what is logged."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, get_args
from urllib.parse import quote

import pytest

from canary import CANARY, traces
from inboxes import PASSWORD, USER, Mailbox, Webhook
from pgmoor.alerts._apprise_logs import captured
from pgmoor.alerts._channels import AppriseChannel, make_channels
from pgmoor.alerts._kinds import Message, Severity
from pgmoor.testing._ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "Zq9xW7vK2m"
ADDRESSES = "from=pgmoor@example.com&to=oncall@example.com"
MESSAGE = Message("failure", "orders: outage", "Line 1 <b>&amp; not HTML</b>\nLine 2\n\nLine 3 äöü")


@pytest.fixture
def all_logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Log all_logs, down to Apprise's TRACE and urllib3's requests."""
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
    mailbox: Mailbox, all_logs: pytest.LogCaptureFixture
) -> None:
    assert channel(mail_url(mailbox)).send(MESSAGE) is None

    (mail,) = mailbox.mails
    assert (mailbox.logins, mailbox.encrypted) == ([USER.encode()], [True])
    assert mail["Subject"] == "orders: outage"
    assert (mail["From"], mail["To"]) == ("pgmoor@example.com", "oncall@example.com")
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == MESSAGE.text.splitlines()
    assert all_logs.text == ""


def test_a_mail_is_from_pgmoor_unless_the_url_names_a_sender(mailbox: Mailbox) -> None:
    url = f"mailtos://{USER}:{PASSWORD}@example.com:{mailbox.port}?smtp=localhost&to=on@call.org"

    assert channel(url).send(MESSAGE) is None

    assert mailbox.mails[0]["From"] == "pgmoor <app@example.com>"


def test_an_untrusted_certificate_is_a_failure(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, all_logs: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    failure = channel(mail_url(mailbox)).send(MESSAGE)

    assert failure is not None
    assert "certificate verify failed" in failure
    assert mailbox.mails == []


def test_verify_no_accepts_an_untrusted_certificate(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    assert channel(mail_url(mailbox) + "&verify=no").send(MESSAGE) is None


def test_a_rejected_login_is_the_reason_without_the_password(
    mailbox: Mailbox, all_logs: pytest.LogCaptureFixture
) -> None:
    password = CANARY.encode("ascii", "ignore").decode()  # smtplib takes no others
    failure = channel(mail_url(mailbox, password)).send(MESSAGE)

    assert failure is not None
    assert "535" in failure
    assert "localhost" in failure
    assert traces(failure, all_logs.text) == []


def test_without_debug_logs_the_reason_is_short(mailbox: Mailbox) -> None:
    mailbox.refusing = True

    failure = channel(mail_url(mailbox)).send(MESSAGE)

    assert failure == 'Sending email to "oncall@example.com" failed'


def test_only_the_type_of_a_plugins_exception_is_the_reason(mailbox: Mailbox) -> None:
    message = Message("info", "title", "a lone surrogate: \ud800")

    assert channel(mail_url(mailbox)).send(message) == "UnicodeEncodeError"


def test_a_post_has_title_text_and_severity(
    webhook: Webhook, all_logs: pytest.LogCaptureFixture
) -> None:
    hook = channel(f"json://127.0.0.1:{webhook.port}/{TOKEN}?-key={TOKEN}")

    for severity in get_args(Severity):
        assert hook.send(Message(severity, MESSAGE.title, MESSAGE.text)) is None

    assert webhook.paths == [f"/{TOKEN}?key={TOKEN}"] * 4
    assert [post["type"] for post in webhook.posts] == ["info", "success", "warning", "failure"]
    assert {(post["title"], post["message"]) for post in webhook.posts} == {
        (MESSAGE.title, MESSAGE.text)
    }
    assert all_logs.text == ""


def test_the_http_status_is_the_reason(webhook: Webhook) -> None:
    webhook.status = 503

    failure = channel(f"json://127.0.0.1:{webhook.port}/{TOKEN}").send(MESSAGE)

    assert failure is not None
    assert "503" in failure
    assert TOKEN not in failure


def test_the_reason_of_a_refused_connection_contains_no_secret_of_the_url(
    all_logs: pytest.LogCaptureFixture,
) -> None:
    secret = quote(CANARY, safe="")
    url = f"json://{secret}:{secret}@127.0.0.1:{free_port()}/{TOKEN}/{secret}?-key={secret}"

    failure = channel(url).send(MESSAGE)

    assert failure is not None
    assert "127.0.0.1" in failure
    assert "Connection refused" in failure
    assert TOKEN not in failure + all_logs.text
    assert traces(failure, all_logs.text) == []


def test_a_token_in_place_of_the_server_is_not_shown() -> None:
    made = channel(f"schan://{TOKEN * 3}")

    assert TOKEN not in made.label + repr(made)


def test_there_is_no_pause_between_two_messages(mailbox: Mailbox) -> None:
    # By default Apprise waits 5.5 s between two mails, longer than a close that flushes may take.
    made = channel(mail_url(mailbox))
    done = threading.Event()

    def send() -> None:
        assert [made.send(MESSAGE), made.send(MESSAGE)] == [None, None]
        done.set()

    threading.Thread(target=send, daemon=True).start()

    assert done.wait(4)


def test_the_logs_of_other_threads_are_not_captured(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("urllib3.connectionpool")

    def log() -> None:
        logger.warning("from another thread")

    with captured():
        logger.warning("from this one")
        other = threading.Thread(target=log)
        other.start()
        other.join()
    logger.warning("later")

    assert [record.message for record in caplog.records] == ["from another thread", "later"]

"""Real servers that fail, and the mails and posts that arrive."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from inboxes import PASSWORD, USER, Mailbox, Webhook
from pgmoor import ConnectionManager
from pgmoor.alerts import Alerts
from pgmoor.alerts._triage import Triage
from pgmoor.events import Failover, OutageEnded
from support import Workload, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

QUICK = {"min_size": 1, "name": "orders"}


def mail_url(box: Mailbox) -> str:
    addresses = "from=pgmoor@example.com&to=oncall@example.com"
    return f"mailtos://{USER}:{PASSWORD}@localhost:{box.port}?{addresses}"


def hook_url(hook: Webhook) -> str:
    return f"json://127.0.0.1:{hook.port}/"


async def test_a_killed_server_and_its_return_lead_to_two_mails(
    alone: Cluster, mailbox: Mailbox, moor: Callable[..., Any]
) -> None:
    alerts = Alerts([mail_url(mailbox)], after=0.5)
    manager = await moor(*alone, **QUICK, alerts=alerts)
    await manager.wait()

    await alone[0].kill()
    await mailbox.count(1)
    await alone[0].start()
    await mailbox.count(2)

    host = f"127.0.0.1:{alone[0].port}"
    outage, over = mailbox.mails
    # The host is refused, or closes the probe that is under way: whichever is first.
    assert outage["Subject"].startswith(f"orders: database outage, {host} down (")
    assert f"{host}: down (" in outage.get_content()
    assert "pgmoor probes all hosts" in outage.get_content()
    assert "Callers wait up to 30 s" in outage.get_content()
    seconds = (await recorder(manager).wait_for(OutageEnded)).seconds
    assert over["Subject"].startswith("orders: database back after ")
    assert float(over["Subject"].split()[4]) == pytest.approx(seconds, abs=0.5)
    assert f"{host}: primary" in over.get_content()
    assert mailbox.encrypted == [True, True]


async def test_a_failover_leads_to_one_mail(
    pair: Cluster, mailbox: Mailbox, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, **QUICK, alerts=[mail_url(mailbox)])
    await manager.wait()

    async with Workload(manager, tasks=4):
        await pair[0].kill()
        await pair[1].promote()
        await recorder(manager).wait_for(Failover)
        await mailbox.count(1)
    await manager.close()

    before, after = (f"127.0.0.1:{node.port}" for node in pair.nodes)
    assert mailbox.subjects == [f"failed over to {after}"]
    assert f"Failed over from {before} to {after} in " in mailbox.mails[0].get_content()
    assert f"{before}: down" in mailbox.mails[0].get_content()
    assert f"{after}: primary" in mailbox.mails[0].get_content()


async def test_a_failover_that_ends_an_outage_leads_to_one_post_about_both(
    pair: Cluster, webhook: Webhook, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, **QUICK, alerts=Alerts([hook_url(webhook)], after=0.3))
    await manager.wait()

    await pair[0].kill()
    await webhook.count(1)
    await pair[1].promote()
    await webhook.count(2)
    await manager.close()

    assert [post["type"] for post in webhook.posts] == ["failure", "success"]
    assert webhook.titles[1].startswith("database back after ")
    assert webhook.titles[1].endswith(f"failed over to 127.0.0.1:{pair[1].port}")


async def test_a_rejected_login_is_the_reason_and_no_password_is_sent(
    alone: Cluster, webhook: Webhook
) -> None:
    await alone[0].sql("drop role if exists clerk")
    await alone[0].sql("create role clerk login password 'hunter2-wr0ng-one'")
    conninfo = f"host=127.0.0.1 port={alone[0].port} user=nobody dbname=postgres"
    async with ConnectionManager(
        conninfo,
        **QUICK,  # type: ignore[arg-type]
        password="hunter2-c0rrect",
        alerts=Alerts([hook_url(webhook)], after=0.3),
    ):
        await webhook.count(1)

    assert "rejects our login" in webhook.titles[0]
    assert 'role "nobody" does not exist' in webhook.posts[0]["message"]
    assert "hunter2" not in str(webhook.posts)


async def test_a_connection_held_too_long_is_reported_with_its_place(
    alone: Cluster, webhook: Webhook, moor: Callable[..., Any]
) -> None:
    alerts = Alerts([hook_url(webhook)], after=0.0)
    manager = await moor(*alone, **QUICK, held_warning=0.1, alerts=alerts)
    async with manager.connection():
        await webhook.count(1)

    assert webhook.titles == ["connection held too long"]
    assert "test_alerted_faults.py" in webhook.posts[0]["message"]


# -- alerts disturb nothing ---------------------------------------------------------------------


async def test_a_channel_that_hangs_delays_neither_recovery_nor_checkouts(
    alone: Cluster, webhook: Webhook, moor: Callable[..., Any]
) -> None:
    webhook.silent.set()
    manager = await moor(*alone, alerts=Alerts([hook_url(webhook)], after=0.0))
    async with Workload(manager, tasks=8) as work:
        await alone[0].stop()
        await webhook.count(1)  # the post is read, but not answered

        await alone[0].start()
        back = await work.back(monotonic())
        checkouts = []
        for _ in range(200):
            began = monotonic()
            async with manager.connection():
                checkouts.append(monotonic() - began)

    assert back < 2.0, back  # the same bound as without alerts
    assert sorted(checkouts)[100] < 0.05


async def test_alerts_go_on_after_a_bug_in_one_handler(
    alone: Cluster,
    webhook: Webhook,
    moor: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(self: Triage, event: object, now: float) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(Triage, "_on_host_up", fail)
    await alone[0].stop()
    await moor(*alone, **QUICK, alerts=Alerts([hook_url(webhook)], after=0.1))
    await webhook.count(1)
    await alone[0].start()
    await webhook.count(2)

    assert webhook.titles[1].startswith("database back after ")
    assert "handling an event failed" in caplog.text


async def test_without_faults_there_are_no_messages_and_no_threads(
    alone: Cluster, webhook: Webhook, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, **QUICK, alerts=[hook_url(webhook)])
    async with manager.connection() as conn:
        await conn.execute("select 1")
    senders = [item for item in threading.enumerate() if item.name == "pgmoor-alerts-send"]
    await manager.close()

    assert (webhook.posts, senders) == ([], [])


async def test_one_alerts_object_works_for_several_managers(
    alone: Cluster, webhook: Webhook, moor: Callable[..., Any]
) -> None:
    alerts = Alerts([hook_url(webhook)], after=0.2)
    await alone[0].stop()
    for name in ("orders", "billing"):
        await moor(*alone, min_size=1, name=name, alerts=alerts)

    await webhook.count(2)

    assert {post["title"].partition(":")[0] for post in webhook.posts} == {"orders", "billing"}


# -- closing ------------------------------------------------------------------------------------


async def test_closing_during_an_outage_sends_what_is_queued(
    alone: Cluster, mailbox: Mailbox, moor: Callable[..., Any]
) -> None:
    await alone[0].stop()
    mailbox.refusing = True
    manager = await moor(*alone, **QUICK, alerts=Alerts([mail_url(mailbox)], after=0.1))
    await until(lambda: len(mailbox.logins) >= 1)  # the first attempt has failed

    mailbox.refusing = False
    began = monotonic()
    await manager.close()

    assert monotonic() - began < 4
    assert mailbox.subjects[0].startswith("database outage, ")
    assert mailbox.subjects[1] == "closed during the outage"


async def test_closing_does_not_wait_for_a_channel_beyond_its_timeout(
    alone: Cluster,
    webhook: Webhook,
    moor: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    webhook.silent.set()
    await alone[0].stop()
    manager = await moor(*alone, **QUICK, alerts=Alerts([hook_url(webhook)], after=0.1))
    await webhook.count(1)
    began = monotonic()

    await manager.close(timeout=0.5)

    assert 0.3 < monotonic() - began < 1.5
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert all("was not sent over json (1)" in error for error in errors)


SERVICE = """
import asyncio, signal, sys
from pgmoor import ConnectionManager
from pgmoor.alerts import Alerts

async def main():
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    alerts = Alerts([sys.argv[2]], after=0.2)
    async with ConnectionManager(sys.argv[1], name="orders", min_size=1, alerts=alerts):
        await stopping.wait()

asyncio.run(main())
"""


async def test_a_service_that_gets_sigterm_during_an_outage_reports_it(
    alone: Cluster, webhook: Webhook
) -> None:
    await alone[0].stop()
    service = subprocess.Popen(  # noqa: ASYNC220  it takes a moment
        [sys.executable, "-c", SERVICE, alone.conninfo(), hook_url(webhook)],
        stderr=subprocess.PIPE,
        text=True,
    )
    await webhook.count(1)
    began = monotonic()

    service.send_signal(signal.SIGTERM)
    _, err = await asyncio.to_thread(service.communicate, timeout=10)

    assert service.returncode == 0, err
    assert monotonic() - began < 4
    assert webhook.titles[-1] == "closed during the outage"
    assert "Traceback" not in err

from __future__ import annotations

from typing import Any

import pytest

from pgmoor import HostHealth
from pgmoor._cli.advice import Plan, Seen, advise, by_hosts
from pgmoor._cli.inspection import Inspection, Tls

GOOD = {
    "data_checksums": "on",
    "default_transaction_read_only": "off",
    "idle_in_transaction_session_timeout": "60000",
    "idle_session_timeout": "0",
    "max_connections": "100",
    "reserved_connections": "2",
    "superuser_reserved_connections": "3",
    "synchronous_commit": "on",
    "synchronous_standby_names": "ANY 1 (*)",
    "tcp_keepalives_idle": "60",
    "wal_log_hints": "off",
}


def seen(role: str = "primary", *, local: bool = False, tls: bool = True, **changed: Any) -> Seen:
    host = HostHealth(
        host=f"{role}:5432",
        status="up",
        role=role,
        writable=role == "primary",
        timeline=1,
        latency=0.001,
        lag=None,
        current=role == "primary",
        stale=False,
        failure=None,
    )
    used = changed.pop("used", 10)
    return Seen(host, Inspection(Tls(in_use=tls), used, {**GOOD, **changed}), local)


def settings(one: Seen, plan: Plan | None = None, hosts: int = 2) -> list[str]:
    return [finding.setting for finding in advise([one], plan or Plan(), hosts)]


def test_a_server_that_is_set_up_well_gets_no_advice() -> None:
    assert settings(seen()) == []
    assert settings(seen("standby")) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("idle_in_transaction_session_timeout", "0"),
        ("idle_session_timeout", "60000"),
        ("tcp_keepalives_idle", "7200"),
        ("synchronous_standby_names", ""),
        ("synchronous_commit", "local"),
        ("default_transaction_read_only", "on"),
    ],
)
def test_a_setting_that_will_hurt_is_found_with_reason_and_remedy(setting: str, value: str) -> None:
    changed: dict[str, Any] = {setting: value}
    (found,) = advise([seen(**changed)], Plan(), 2)

    assert (found.host, found.setting) == ("primary:5432", setting)
    assert found.reason
    assert found.remedy


def test_connections_that_will_not_suffice_are_found() -> None:
    # 95 are allowed, 10 in use; each program may need 10 and one for its probes.
    assert settings(seen(), Plan(max_size=10, programs=7)) == []
    assert settings(seen(), Plan(max_size=10, programs=8)) == ["max_connections"]


def test_an_old_primary_must_be_able_to_rewind() -> None:
    assert settings(seen(data_checksums="off")) == ["wal_log_hints"]
    assert settings(seen(data_checksums="off", wal_log_hints="on")) == []
    assert settings(seen(data_checksums="off"), hosts=1) == []


def test_no_tls_matters_over_the_network_only() -> None:
    assert settings(seen(tls=False)) == ["sslmode"]
    assert settings(seen(tls=False, local=True)) == []


def test_commits_can_only_be_lost_to_another_host() -> None:
    assert settings(seen(synchronous_standby_names=""), hosts=1) == []
    assert settings(seen("standby", synchronous_standby_names="")) == []


def test_a_server_without_postgresqls_settings_gets_no_advice_about_them() -> None:
    one = seen()
    assert advise([Seen(one.host, Inspection(Tls(in_use=True)), local=False)], Plan(), 2) == []


def test_the_same_advice_for_several_hosts_is_given_once() -> None:
    found = advise(
        [seen(tcp_keepalives_idle="7200"), seen("standby", tcp_keepalives_idle="7200")], Plan(), 2
    )

    assert list(by_hosts(found).values()) == [["primary:5432", "standby:5432"]]


@pytest.mark.parametrize(
    ("tls", "text"),
    [
        (Tls(in_use=False), "no TLS"),
        (Tls(in_use=True), "TLS"),
        (Tls(True, "TLSv1.3", "TLS_AES_256_GCM_SHA384"), "TLSv1.3 TLS_AES_256_GCM_SHA384"),
    ],
)
def test_tls_in_words(tls: Tls, text: str) -> None:
    assert str(tls) == text

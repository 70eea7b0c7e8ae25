"""What `Alerts` takes, what it refuses, and that no text holds any of a URL's secrets."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from canary import CANARY, traces
from pgmoor import ConfigError, ConnectionManager
from pgmoor.alerts import Alerts
from pgmoor.alerts._channels import make_channels

if TYPE_CHECKING:
    from collections.abc import Callable

MAIL = "mailtos://app:hunter2@mail.example.com?to=oncall@example.com"
SECRET = "Zq9xW7vK2m"  # long enough that none of its pieces stands in a text by chance


def test_channels_are_named_by_scheme_and_place() -> None:
    alerts = Alerts([MAIL, f"json://hooks.example.com/{SECRET}"])

    assert alerts.channels == ("mailtos (1)", "json (2)")
    assert repr(alerts) == "<Alerts mailtos (1), json (2)>"


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"after": -1}, "after"),
        ({"after": "5"}, "after"),
        ({"after": float("nan")}, "after"),
        ({"remind": 0}, "remind"),
        ({"digest": 0}, "digest"),
        ({"digest": True}, "digest"),
        ({"burst": 0}, "burst"),
        ({"burst": 1.5}, "burst"),
        ({"send_timeout": 0}, "send_timeout"),
        ({"retry_for": -1}, "retry_for"),
        ({"max_queue": 0}, "max_queue"),
        ({"severities": ["outage"]}, "severities"),
        ({"severities": {"outages": None}}, "severities"),
        ({"severities": {"outage": "bad"}}, "severities"),
    ],
    ids=str,
)
def test_a_setting_that_cant_be_is_refused_by_name(settings: dict[str, Any], setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Alerts([MAIL], **settings)

    assert caught.value.setting == setting


@pytest.mark.parametrize("channels", [MAIL, [], 5, None, [5], [MAIL, None], {MAIL}], ids=str)
def test_channels_that_are_no_list_of_urls_are_refused(channels: Any) -> None:
    with pytest.raises(ConfigError, match=r"alerts: .*mailtos"):
        Alerts(channels)


def test_zero_is_a_fitting_delay() -> None:
    alerts = Alerts([MAIL], after=0, retry_for=0, remind=None)

    assert (alerts.rules.after, alerts.limits.retry_for, alerts.rules.remind) == (0, 0, None)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        (f"mailtos://app:{SECRET}@x", "channel 2 \\(mailtos\\)"),
        (f"slack://{SECRET}/x", "channel 2 \\(slack\\)"),
        (f"json://app:{SECRET}@", "channel 2 \\(json\\)"),
        (f"{SECRET}://app@host", "channel 2 begins with no scheme"),
        (f"app:{SECRET}@host", "channel 2 begins with no scheme"),
        ("", "channel 2 begins with no scheme"),
    ],
)
def test_a_url_that_cant_be_used_is_named_by_its_place_and_not_quoted(
    url: str, names: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConfigError, match=names) as caught:
        ConnectionManager(alerts=[MAIL, url])

    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert SECRET not in shown
    assert caught.value.__context__ is None
    assert variables_of(caught.value, skip=1).find(SECRET) == -1


def variables_of(error: BaseException, *, skip: int) -> str:
    """Return what a traceback would print that shows the variables of pgmoor's frames."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][skip:]
    return repr([dict(frame.f_locals) for frame in frames])


def test_a_url_stands_in_no_attribute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    alerts = Alerts([f"json://{SECRET}:{SECRET}@localhost/{SECRET}?+X-Token={SECRET}"])
    manager = ConnectionManager(alerts=alerts)

    assert SECRET not in "".join(walk(alerts)) + "".join(walk(manager)) + caplog.text


def walk(root: object) -> list[str]:
    """Return the reprs of all that is reached from an object by its attributes and items."""
    seen: set[int] = set()
    found: list[str] = []
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type | type(walk) | type(sys)):
            continue
        seen.add(id(item))
        found.append(repr(item))
        waiting += list(getattr(item, "__dict__", {}).values())
        names = getattr(type(item), "__slots__", ())
        waiting += [getattr(item, name, None) for name in names]
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += list(item)
    return found


def test_a_channel_is_not_pickled() -> None:
    (channel,) = make_channels([MAIL])

    with pytest.raises(TypeError, match="password"):
        pickle.dumps(channel)


@pytest.mark.parametrize("ask", [lambda: Alerts([MAIL]), lambda: ConnectionManager(alerts=[MAIL])])
def test_without_the_extra_it_says_which_one_to_install(
    ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(ConfigError, match=r'pip install "pgmoor\[alerts\]"') as caught:
        ask()

    assert caught.value.setting == "alerts"


def test_apprise_is_imported_only_when_alerts_are_asked_for() -> None:
    code = (
        "import sys, pgmoor; pgmoor.ConnectionManager('host=db1');"
        "assert not {'apprise', 'pgmoor.alerts'} & sys.modules.keys();"
        "pgmoor.ConnectionManager('host=db1', alerts=['json://localhost']);"
        "assert {'apprise', 'pgmoor.alerts'} <= sys.modules.keys()"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_canary_is_found_in_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for url in (f"mailtos://app:{CANARY}@", f"slack://{CANARY}", f"{CANARY}://x"):
        with pytest.raises(ConfigError) as caught:
            Alerts([url])

        assert traces(str(caught.value), caplog.text, variables_of(caught.value, skip=1)) == []

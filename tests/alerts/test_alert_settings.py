"""Which settings `Alerts` accepts, and that no text shows a secret of a URL."""

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
SECRET = "Zq9xW7vK2m"  # long enough not to occur in a text by chance


def test_channels_are_named_by_scheme_and_position() -> None:
    alerts = Alerts([MAIL, f"json://hooks.example.com/{SECRET}"])

    assert alerts.channels == ("mailtos (1)", "json (2)")
    assert repr(alerts) == "<Alerts mailtos (1), json (2)>"


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"after": -1}, "after"),
        ({"after": float("nan")}, "after"),
        ({"remind": 0}, "remind"),
        ({"digest": True}, "digest"),
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
def test_the_error_names_the_unusable_setting(settings: dict[str, Any], setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Alerts([MAIL], **settings)

    assert caught.value.setting == setting


@pytest.mark.parametrize("channels", [MAIL, [], None, [MAIL, 5]], ids=str)
def test_channels_must_be_a_list_of_urls(channels: Any) -> None:
    with pytest.raises(ConfigError, match=r"alerts: .*mailtos"):
        Alerts(channels)


def test_zero_is_a_valid_delay() -> None:
    alerts = Alerts([MAIL], after=0, retry_for=0, remind=None)

    rules, limits = alerts._rules, alerts._limits
    assert (rules.after, limits.retry_for, rules.remind) == (0, 0, None)


def test_only_the_channels_names_are_public() -> None:
    assert {name for name in dir(Alerts) if not name.startswith("_")} == {"channels"}


@pytest.mark.parametrize(
    ("url", "names"),
    [
        (f"mailtos://app:{CANARY}@", "channel 2 \\(mailtos\\)"),
        (f"slack://{CANARY}", "channel 2 \\(slack\\)"),
        (f"{CANARY}://x", "channel 2 does not begin with a scheme"),
        (f"json://app:{SECRET}@", "channel 2 \\(json\\)"),
        (f"app:{SECRET}@host", "channel 2 does not begin with a scheme"),
        ("", "channel 2 does not begin with a scheme"),
    ],
)
def test_the_error_names_an_unusable_url_by_its_position_and_does_not_quote_it(
    url: str, names: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConfigError, match=names) as caught:
        ConnectionManager(alerts=[MAIL, url])

    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    shown += variables_of(caught.value, skip=1)
    assert SECRET not in shown
    assert traces(shown) == []
    assert caught.value.__context__ is None


def variables_of(error: BaseException, *, skip: int) -> str:
    """Return what a traceback that shows variables would print of pgmoor's frames."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][skip:]
    return repr([dict(frame.f_locals) for frame in frames])


def test_no_attribute_contains_a_url(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    alerts = Alerts([f"json://{SECRET}:{SECRET}@localhost/{SECRET}?+X-Token={SECRET}"])
    manager = ConnectionManager(alerts=alerts)

    assert SECRET not in "".join(walk(alerts)) + "".join(walk(manager)) + caplog.text


def walk(root: object) -> list[str]:
    """Return the reprs of all objects reachable from *root* by attributes and items."""
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


def test_a_channel_cant_be_pickled() -> None:
    (channel,) = make_channels([MAIL])

    with pytest.raises(TypeError, match="password"):
        pickle.dumps(channel)


@pytest.mark.parametrize("ask", [lambda: Alerts([MAIL]), lambda: ConnectionManager(alerts=[MAIL])])
def test_without_the_extra_the_error_says_what_to_install(
    ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(ConfigError, match=r'pip install "pgmoor\[alerts\]"') as caught:
        ask()

    assert caught.value.setting == "alerts"


def test_apprise_is_imported_only_if_alerts_are_asked_for() -> None:
    code = (
        "import sys, pgmoor; pgmoor.ConnectionManager('host=db1');"
        "assert not {'apprise', 'pgmoor.alerts'} & sys.modules.keys();"
        "pgmoor.ConnectionManager('host=db1', alerts=['json://localhost']);"
        "assert {'apprise', 'pgmoor.alerts'} <= sys.modules.keys()"
    )

    subprocess.run([sys.executable, "-c", code], check=True)

"""An instrument that raises is reported once, dropped, and disturbs nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgmoor._core.reporting.instrument_list import METHODS, Guarded
from pgmoor.instruments import Instrument

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from pgmoor.testing import Cluster


class Broken(Instrument):
    """Raises in one method, and counts the calls of the others."""

    def __init__(self, method: str) -> None:
        self.calls = 0
        for name in METHODS:
            setattr(self, name, self._raise if name == method else self._count)

    def _raise(self, *_: Any) -> Any:
        raise ValueError("broken")

    def _count(self, *_: Any) -> Any:
        self.calls += 1


async def test_instruments_that_raise_harm_neither_callers_nor_connections(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0], min_size=1, max_size=2, health_interval=0.05, timeout=2)
    await manager.wait()
    for method in METHODS:
        manager.instrument(Broken(method))

    for _ in range(4):
        async with manager.connection() as conn:
            await conn.execute("select 1")
    await manager.health(fresh=True)

    assert manager.snapshot().ready
    assert manager.snapshot().pool.used == 0


async def test_an_instrument_that_raises_is_reported_once_and_not_called_again(
    alone: Cluster, moor: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    manager = await moor(alone[0], min_size=1, max_size=2)
    await manager.wait()
    broken = Broken("returned")
    end = manager.instrument(broken)

    async with manager.connection():
        pass
    calls = broken.calls
    async with manager.connection():
        pass

    assert broken.calls == calls > 0
    (record,) = [item for item in caplog.records if "an instrument raised" in item.message]
    assert "in returned and is not called again: Broken" in record.message
    end()


def test_the_function_that_an_instrument_returns_is_guarded_too() -> None:
    dropped: list[str] = []

    class Ends(Instrument):
        def waiting(self) -> Callable[[BaseException | str | None], None]:
            def end(_: BaseException | str | None) -> None:
                raise ValueError("broken")

            return end

    end = Guarded(Ends(), lambda method, _: dropped.append(method)).waiting()
    assert end is not None
    end(None)

    assert dropped == ["waiting"]

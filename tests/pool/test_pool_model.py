"""The pool's logic against a model of it, by random steps in any order and in the same turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from pool_model import REST
from pool_steps import PoolModel
from stub_pool import INTRANS


@pytest.fixture
def pool() -> Iterator[Callable[..., PoolModel]]:
    """A model of a host's pool, for steps that once went wrong."""
    models: list[PoolModel] = []

    def make(least: int, callers: int) -> PoolModel:
        models.append(PoolModel())
        models[-1].begin((least, 0, 0), callers)
        return models[-1]

    yield make
    for model in models:
        model.teardown()


Steps = Callable[..., PoolModel]


def test_a_return_to_a_host_that_was_left_makes_room_for_the_minimum(pool: Steps) -> None:
    model = pool(1, callers=1)
    model.fail_over(abort=False, turns=REST)
    model.dialled(0, False, REST)  # it isn't wanted while the only one is held elsewhere
    model.give_back(0, "leave", REST)


def test_a_cut_on_a_host_that_was_left_serves_who_waits(pool: Steps) -> None:
    model = pool(1, callers=1)
    model.warm(REST)
    model.all_goes_well()
    model.take_over(abort=False, turns=REST)
    model.acquire(None, REST)
    model.cut_left(0, REST)
    assert model.callers[1] in model.holders


def test_a_cut_on_a_host_that_was_left_has_made_what_is_missing(pool: Steps) -> None:
    model = pool(1, callers=1)
    model.fail_over(abort=False, turns=REST)
    model.dialled(0, False, REST)
    model.acquire(None, REST)
    model.cut_left(0, REST)
    model.all_goes_well()
    assert model.callers[1] in model.holders


def test_what_was_cut_before_its_host_was_left_makes_room(pool: Steps) -> None:
    model = pool(1, callers=1)
    model.look_after("cut off", REST)
    model.fail_over(abort=False, turns=REST)
    model.acquire(None, REST)
    model.all_goes_well()
    assert model.callers[1] in model.holders


def test_a_connection_that_is_given_back_while_its_block_commits_is_counted_once(
    pool: Steps,
) -> None:
    model = pool(1, callers=0)
    model.all_goes_well()
    queue = model.world.queue

    async def use() -> None:
        async with queue.checkout(5) as conn:
            conn.pgconn.transaction_status = INTRANS
            # As a class may whose commit() gives up, or another task of the program.
            conn.commit = lambda: queue.release(conn)

    task = model.loop.create_task(use())
    for _ in range(3):
        model.all_goes_well()
    assert task.done()
    assert model.world.ledger.held == 0


def test_callers_who_got_dead_connections_keep_their_order(pool: Steps) -> None:
    model = pool(2, callers=0)
    model.all_goes_well()
    model.age(1, "old")
    for _ in range(3):
        model.acquire(None, REST)
    model.answer(0, "broken", REST)
    model.answer(0, "broken", REST)
    model.dialled(0, True, REST)
    assert model.callers[0] in model.holders


def test_a_caller_who_got_a_dead_connection_at_once_is_served_before_later_ones(
    pool: Steps,
) -> None:
    model = pool(1, callers=0)
    model.all_goes_well()
    model.age(0, "old")
    model.acquire(None, REST)
    model.acquire(None, REST)
    model.answer(0, "broken", REST)
    model.dialled(0, True, REST)
    assert model.callers[0] in model.holders


def test_what_is_idle_beyond_a_lower_max_size_is_closed(pool: Steps) -> None:
    model = pool(3, callers=0)
    model.overflow = 2
    model.resize((3, 0, 0), REST)
    model.all_goes_well()
    model.resize((1, 0, 0), REST)
    assert len(model.world.queue.pool.ready) == 1  # type: ignore[union-attr]


SETTINGS = hypothesis.settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def test_the_pool_does_what_its_model_does() -> None:
    run_state_machine_as_test(PoolModel, settings=SETTINGS)


@pytest.mark.soak
def test_the_pool_does_what_its_model_does_for_long() -> None:
    run_state_machine_as_test(
        PoolModel, settings=hypothesis.settings(SETTINGS, max_examples=1000, derandomize=True)
    )

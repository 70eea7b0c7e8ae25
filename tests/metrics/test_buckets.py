"""Durations are counted exactly, and other threads read consistent totals."""

from __future__ import annotations

import random
import threading

import pytest

from pgmoor._metrics.buckets import BOUNDS, FINE, Buckets


def test_the_reported_limits_are_among_the_counted_ones() -> None:
    assert set(BOUNDS) <= set(FINE)
    assert list(FINE) == sorted(set(FINE))


def test_a_duration_equal_to_a_limit_is_within_it() -> None:
    for bound in BOUNDS:
        buckets = Buckets()
        buckets.observe(bound)
        buckets.observe(bound * 1.0001)

        counts = dict(buckets.read().cumulative())

        assert counts[bound] == 1
        assert all(counts[other] == 0 for other in BOUNDS if other < bound)
        assert all(counts[other] == 2 for other in BOUNDS if other > bound)


def test_counts_and_sums_are_exact() -> None:
    durations = [random.expovariate(100) for _ in range(5000)] + [0.0, 1e-9, 77.0, 1e6]
    buckets = Buckets()
    for duration in durations:
        buckets.observe(duration)
    buckets.zeros += 3

    counted = buckets.read()

    assert counted.count == len(durations) + 3
    assert counted.total == pytest.approx(sum(durations))
    for bound, upto in counted.cumulative():
        assert upto == 3 + sum(duration <= bound for duration in durations)


def test_readers_in_other_threads_see_each_duration_once() -> None:
    buckets, total = Buckets(), 200_000
    done = threading.Event()
    wrong: list[str] = []

    def read() -> None:
        newest = 0
        while not done.is_set():
            counted = buckets.read()
            # Each is 5 ms. The sum may be ahead of the count, by durations that are counted while
            # the two lists are copied. It is never behind.
            if counted.count < newest or counted.total < counted.count * 0.005 - 1e-6:
                wrong.append(f"{counted.count} after {newest}, {counted.total} s")
            newest = counted.count

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(total):
        buckets.observe(0.005)
    done.set()
    for reader in readers:
        reader.join()

    assert wrong == []
    assert buckets.read().count == total
    assert buckets.read().total == pytest.approx(total * 0.005)

"""Counted durations reach an SDK's histogram, each of them once."""

from __future__ import annotations

import random
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from pgmoor._metrics.buckets import BOUNDS, Buckets
from pgmoor.otel._drain import BATCH, Drain

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram

    from metrics.telemetry import Telemetry


def histogram(telemetry: Telemetry, name: str) -> Histogram:
    return telemetry.meters.get_meter("test").create_histogram(
        name, "s", explicit_bucket_boundaries_advisory=BOUNDS
    )


def test_a_drained_histogram_equals_one_that_was_recorded_directly(telemetry: Telemetry) -> None:
    drained, direct = histogram(telemetry, "drained"), histogram(telemetry, "direct")
    drain, buckets = Drain(drained, {}), Buckets()
    durations = [random.expovariate(50) for _ in range(2000)]
    durations += [0.0, *BOUNDS, *(bound * 1.000001 for bound in BOUNDS), 5000.0, 1e5]
    random.shuffle(durations)

    for begin in range(0, len(durations), 700):  # in several collections
        for duration in durations[begin : begin + 700]:
            buckets.observe(duration)
            direct.record(duration)
        drain.run(buckets, monotonic() + 60)

    points = telemetry.collect()
    ours, theirs = points["drained"][0], points["direct"][0]
    assert ours.count == theirs.count == len(durations)
    assert ours.bucket_counts == theirs.bucket_counts
    assert ours.sum == pytest.approx(theirs.sum)


def test_durations_left_at_the_deadline_are_recorded_at_the_next_collection(
    telemetry: Telemetry,
) -> None:
    drain, buckets = Drain(histogram(telemetry, "drained"), {}), Buckets()
    for _ in range(10 * BATCH):
        buckets.observe(0.02)
    drain.run(buckets, monotonic() - 1)
    assert "drained" not in telemetry.collect()

    buckets.observe(0.3)
    drain.run(buckets, monotonic() + 60)

    assert telemetry.point("drained").count == 10 * BATCH + 1
    assert telemetry.point("drained").sum == pytest.approx(10 * BATCH * 0.02 + 0.3)


def test_a_sum_ahead_of_its_count_moves_no_duration_to_another_bucket(
    telemetry: Telemetry,
) -> None:
    """A collection in the middle of `observe()` sees such a sum."""
    drain, buckets = Drain(histogram(telemetry, "drained"), {}), Buckets()
    buckets.observe(0.0009)
    buckets.observe(0.0009)
    index = next(index for index, count in enumerate(buckets.read().counts) if count)
    buckets._counts[index] -= 1

    drain.run(buckets, monotonic() + 60)
    buckets._counts[index] += 1
    drain.run(buckets, monotonic() + 60)

    point = telemetry.point("drained")
    assert point.bucket_counts[0] == point.count == 2
    assert point.sum == pytest.approx(0.0018, rel=0.2)


def test_a_collection_without_new_durations_records_nothing(telemetry: Telemetry) -> None:
    drain, buckets = Drain(histogram(telemetry, "drained"), {}), Buckets()
    buckets.zeros += 2
    for _ in range(3):
        drain.run(buckets, monotonic() + 60)

    assert telemetry.point("drained").count == 2
    assert telemetry.point("drained").sum == 0

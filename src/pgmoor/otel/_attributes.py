"""The attributes of metrics and spans, with the semantic conventions' names where they exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmoor._metrics.catalogue import POOL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor._metrics.catalogue import Metric


def of_host(label: str) -> dict[str, str | int]:
    """Return the attributes of a host, from its `host:port`."""
    address, _, port = label.rpartition(":")
    return {"server.address": address.removeprefix("[").removesuffix("]"), "server.port": int(port)}


def of_reading(manager: str, metric: Metric, labels: Mapping[str, str]) -> dict[str, str | int]:
    """Return the attributes of one value of a metric."""
    attributes: dict[str, str | int] = {POOL: manager}
    for label, attribute in metric.labels:
        if label == "host":
            attributes |= of_host(labels[label])
        else:
            attributes[attribute] = labels[label]
    return attributes

"""The live picture of one manager, made first and handed down to everything that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .availability import Availability
from .evidence import Evidence
from .phase import Phase

if TYPE_CHECKING:
    from pgmoor._core.reporting.reporter import Reporter
    from pgmoor._core.settings.settings import Settings
    from pgmoor.instruments import Instrument


class LiveState:
    """Settings, evidence, phase and availability, and who is told of their changes."""

    def __init__(
        self, settings: Settings, reporter: Reporter, instruments: list[Instrument]
    ) -> None:
        self.settings = settings
        self.reporter = reporter
        self.instruments = instruments
        self.evidence: Evidence = Evidence(settings, reporter)
        self.phase: Phase = Phase(self.evidence.notifier, instruments)
        self.availability: Availability = Availability(settings, self.evidence, self.phase)

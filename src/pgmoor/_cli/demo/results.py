"""What the writers saw of a fault."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SceneResult:
    """What the writers saw of one fault; durations in seconds.

    `back` counts from the start of the fault, `back_writable` from the moment a server could commit
    again. Both end when every writer had committed an operation that began after the fault and
    after the last error. None: that did not happen within `patience`.
    """

    fault: str
    back: float | None
    back_writable: float | None
    failed: int
    lost: int
    twice: int
    patience: float = 15.0

    @property
    def good(self) -> bool:
        """Whether every writer works again, no row was lost and none was written twice."""
        return self.back is not None and not self.lost and not self.twice

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }

    @property
    def back_text(self) -> str:
        """How long it took, or that it took too long to wait for."""
        return f"not in {self.patience:g} s" if self.back is None else f"{self.back:.2f} s"

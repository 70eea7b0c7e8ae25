"""Each public enum is its words."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import get_args

from pgmoor import Target
from pgmoor._core.hosts.rules import TargetName
from render_public_api import public_modules


def test_every_public_enum_is_made_of_strings() -> None:
    names = (getattr(module, name) for module in public_modules() for name in module.__all__)
    enums = {value for value in names if isinstance(value, type) and issubclass(value, Enum)}

    assert {"RetrySafety", "Role", "State", "Status", "Target"} <= {kind.__name__ for kind in enums}
    assert all(issubclass(kind, StrEnum) for kind in enums)


def test_the_words_for_the_target_are_the_enums() -> None:
    assert set(get_args(TargetName)) == set(Target)

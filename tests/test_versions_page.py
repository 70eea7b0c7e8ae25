"""The page on versions shows the faults that are tried on each of them."""

from __future__ import annotations

from pathlib import Path

from render_versions import BEGIN, END, FAULTS, PAGE, PASSED, VERSIONS, on_page, table

ROOT = Path(__file__).parent.parent


def test_the_page_has_a_row_for_each_fault_and_each_is_survived_on_every_version() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = on_page(text)

    assert table(shown) == text.partition(BEGIN)[2].partition(END)[0]
    assert shown == {version: dict.fromkeys(FAULTS, PASSED) for version in VERSIONS}


def test_each_fault_names_a_test_that_exists() -> None:
    for test in FAULTS.values():
        path, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text(encoding="utf-8")

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from pgmoor._cli.demo.film import Caption, Cell, Film, Span
from pgmoor._cli.demo.movie import draw
from pgmoor._cli.story import Tone

SVG = "{http://www.w3.org/2000/svg}"
ANIMATED = "@media (prefers-reduced-motion:no-preference){"
RATES = [700.0, 0.0, 0.0, 700.0] * 10


def film(*libraries: str) -> Film:
    cells = [
        cell
        for _ in libraries
        for cell in (Cell(3.0, "not in 5 s", bad=True), Cell(3.0, "8", bad=False))
    ]
    return Film(
        subtitle="16 tasks write",
        length=10.0,
        curves=dict.fromkeys(libraries, RATES),
        hosts={"n0": [Span(0, 2, "primary"), Span(2, 10, "down")], "n1": [Span(0, 10, "standby")]},
        faults=[(2.0, "crash: primary killed")],
        captions=[Caption(2.0, "n0 <went> & away", Tone.BAD)],
        rows=[("crash: primary killed", cells)],
        verdicts=[(f"{name}: 0 lost", Tone.GOOD) for name in libraries],
    )


def drawn(one: Film) -> tuple[ET.Element, str]:
    root = ET.fromstring(draw(one))
    style = root.find(f"{SVG}style")
    assert style is not None
    assert style.text is not None
    return root, style.text


def texts(root: ET.Element, *, visible: bool) -> list[str]:
    return [
        text.text or ""
        for text in root.iter(f"{SVG}text")
        if (text.get("opacity") != "0") is visible
    ]


@pytest.mark.parametrize("libraries", [("pgmoor",), ("pgmoor", "psycopg_pool")])
def test_without_animation_the_film_is_a_picture_of_all_results(libraries: tuple[str, ...]) -> None:
    root, style = drawn(film(*libraries))

    seen = texts(root, visible=True)
    assert seen.count("not in 5 s") == len(libraries)
    assert all(f"{name}: 0 lost" in seen for name in libraries)
    assert all(name in seen for name in libraries)
    # What covers the future, and the captions, are there for the film only.
    assert "n0 <went> & away" in texts(root, visible=False)
    covers = [part for part in root.iter(f"{SVG}g") if part.get("class") == "curtain"]
    assert [cover.get("opacity") for cover in covers] == ["0"]
    still = style.partition(ANIMATED)[0]
    assert "opacity:0" not in still
    assert "animation" not in still


def test_all_parts_of_the_film_take_the_same_time_and_are_there() -> None:
    root, style = drawn(film("pgmoor", "asyncpg"))

    moving = style.partition(ANIMATED)[2]
    times = set(re.findall(r"animation:\w+ ([\d.]+)s linear -([\d.]+)s infinite", moving))
    ((loop, start),) = times
    assert 0 < float(start) < float(loop)  # it begins with the end
    defined = set(re.findall(r"@keyframes (\w+)", moving))
    assert defined == set(re.findall(r"animation:(\w+) ", moving))
    used = {name for part in root.iter() for name in (part.get("class") or "").split()}
    assert defined <= used
    shares = [float(share) for share in re.findall(r"([\d.]+)%", moving)]
    assert all(0 <= share <= 100 for share in shares)


def test_the_film_has_colours_for_light_and_for_dark_pages() -> None:
    _, style = drawn(film("pgmoor"))

    light, _, dark = style.partition("@media (prefers-color-scheme:dark){")
    assert ".page{fill:#ffffff}" in light
    assert ".page{fill:#ffffff}" not in dark
    classes = set(re.findall(r"\.(\w+)\{fill:", light))
    assert classes == set(re.findall(r"\.(\w+)\{fill:", dark))

"""Takes secrets out of texts that servers and libpq have written."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmoor._core.util.redaction import (
    LONGEST,
    MASK,
    PIECE,
    SECRET_PARAMETERS,
    first_line,
    pieces_of,
    redact,
    secrets_among,
)
from pgmoor._core.util.secrets import Hidden, Secrets

SECRET = "Tr0ub4dor&3"


def redacted(text: str, *secrets: str) -> str:
    return redact(text, map(pieces_of, secrets))


def test_a_secret_and_its_pieces_are_replaced() -> None:
    shown = {
        f"no {SECRET} here": f"no {MASK} here",
        SECRET: MASK,
        SECRET * 2: MASK,
        "only 0ub4do of it": f"only {MASK} of it",
        "only 0ub4d of it": "only 0ub4d of it",  # five characters may occur by chance
        "Tr0ub4dor%263": MASK,
        "nothing": "nothing",
        "": "",
    }

    assert {text: redacted(text, SECRET) for text in shown} == shown


@pytest.mark.parametrize("secret", ["password", "password123", "authentication", "refused", "use"])
def test_asterisks_do_not_reveal_a_password_that_is_a_word_of_a_fixed_text(secret: str) -> None:
    for text in ('password authentication failed for user "app"', "Connection refused"):
        assert redacted(text, secret) == text


def test_asterisks_do_not_reveal_a_password_of_three_letters() -> None:
    assert redacted("abc and abcd", "abc") == "abc and abcd"
    assert redacted("abc and abcd", "abcd") == f"abc and {MASK}"


def test_the_values_in_options_are_secrets() -> None:
    found = {
        "-c app.key=s3cr3t-0ne": {"s3cr3t-0ne"},
        "-capp.key=s3cr3t-0ne -c work_mem=4MB": {"s3cr3t-0ne"},
        "--app.key=two\\ words\\\\ -c x=on": {"two words\\", "two\\ words\\\\"},
        "-c x=": set(),
        "": set(),
    }

    for options, secrets in found.items():
        assert secrets_among({"options": options, "user": "app", "host": "db1"}) == secrets


@pytest.mark.parametrize("name", SECRET_PARAMETERS)
def test_the_values_of_secret_parameters_are_redacted(name: str) -> None:
    secrets = Secrets({name: SECRET, "user": "app"})

    assert secrets.redact(f"app said {SECRET} to db1") == f"app said {MASK} to db1"


def test_a_part_of_a_long_token_is_found_in_a_long_text() -> None:
    token = "".join(f"{number:x}." for number in range(1000))
    secrets = Secrets({"password": token})

    assert secrets.redact("x" * 4000 + token[500:900] + "y") == "x" * 4000 + MASK + "y"


def test_secrets_that_were_replaced_long_ago_are_forgotten() -> None:
    secrets = Secrets({"password": "the-first-one"})
    for number in range(100):
        secrets.learn({"password": f"{number}-password-{number}"})

    assert secrets.redact("the-first-one") == "the-first-one"
    assert secrets.redact("<99-password-99>") == f"<{MASK}>"


@given(st.text(), st.text(min_size=PIECE).filter(lambda text: "*" not in text), st.text())
def test_no_piece_of_a_secret_remains(before: str, secret: str, after: str) -> None:
    shown = redacted(before + secret + after, secret)

    pieces = {shown[start : start + PIECE] for start in range(len(shown) - PIECE + 1)}
    assert not pieces & pieces_of(secret)


@given(st.text())
def test_a_shown_line_is_short_and_holds_no_control_character(text: str) -> None:
    line = first_line(text * 50)

    assert line.isprintable()
    assert len(line) <= LONGEST


def test_what_is_hidden_is_neither_shown_nor_pickled() -> None:
    hidden, secrets = Hidden(SECRET), Secrets({"password": SECRET})

    assert (f"{hidden!r} {hidden}", hidden.reveal()) == ("<hidden> <hidden>", SECRET)
    assert SECRET not in f"{secrets!r} {secrets}"
    for thing in (hidden, secrets):
        for dump in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="may hold a password"):
                dump(thing)

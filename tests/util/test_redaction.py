"""Secret values in texts that others have made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pgmoor._core.util.redaction import (
    LONGEST,
    MASK,
    PIECE,
    first_line,
    pieces_of,
    redact,
    secrets_among,
)
from pgmoor._core.util.secrets import Hidden, Secrets


def redacted(text: str, *secrets: str) -> str:
    return redact(text, map(pieces_of, secrets))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no Tr0ub4dor&3 here", f"no {MASK} here"),
        ("Tr0ub4dor&3", MASK),
        ("Tr0ub4dor&3Tr0ub4dor&3", MASK),
        ("only 0ub4do of it", f"only {MASK} of it"),
        ("only 0ub4d of it", "only 0ub4d of it"),
        ("Tr0ub4dor%263", MASK),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_a_secret_and_its_pieces_are_replaced(text: str, shown: str) -> None:
    assert redacted(text, "Tr0ub4dor&3") == shown


@pytest.mark.parametrize(
    "text", ['password authentication failed for user "app"', "Connection refused"]
)
@pytest.mark.parametrize("secret", ["password", "password123", "authentication", "refused", "use"])
def test_the_words_of_a_fixed_text_do_not_tell_that_one_of_them_is_the_password(
    text: str, secret: str
) -> None:
    assert redacted(text, secret) == text


def test_a_secret_of_a_few_letters_is_not_told_by_the_place_of_asterisks() -> None:
    assert redacted("abc and abcd", "abc") == "abc and abcd"
    assert redacted("abc and abcd", "abcd") == f"abc and {MASK}"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("-c app.key=s3cr3t-0ne", {"s3cr3t-0ne"}),
        ("-capp.key=s3cr3t-0ne -c work_mem=4MB", {"s3cr3t-0ne"}),
        ("--app.key=two\\ words\\\\ -c x=on", {"two words\\", "two\\ words\\\\"}),
        ("-c x=", set()),
        ("", set()),
    ],
)
def test_the_values_in_options_are_secrets(options: str, found: set[str]) -> None:
    assert secrets_among({"options": options, "user": "app", "host": "db1"}) == found


def test_a_secret_that_is_as_long_as_a_token_is_found_in_a_long_text() -> None:
    token = "".join(f"{number:x}." for number in range(1000))
    secrets = Secrets({"password": token})

    assert secrets.redact("x" * 4000 + token[500:900] + "y") == "x" * 4000 + MASK + "y"


def test_secrets_that_were_replaced_long_ago_are_forgotten() -> None:
    secrets = Secrets({"password": "the-first-one"})
    for number in range(100):
        secrets.learn({"password": f"{number}-password-{number}"})

    assert secrets.redact("the-first-one") == "the-first-one"
    assert secrets.redact("<99-password-99>") == f"<{MASK}>"


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.text(), st.text(min_size=PIECE).filter(lambda text: "*" not in text), st.text())
def test_no_piece_of_a_secret_is_left(before: str, secret: str, after: str) -> None:
    shown = redacted(before + secret + after, secret)

    left = {shown[start : start + PIECE] for start in range(len(shown) - PIECE + 1)}
    assert not left & pieces_of(secret)


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.text())
def test_a_line_is_short_and_steers_nothing(text: str) -> None:
    line = first_line(text * 50)

    assert line.isprintable()
    assert len(line) <= LONGEST


def test_what_is_hidden_shows_nothing() -> None:
    hidden = Hidden("Tr0ub4dor&3")

    assert (f"{hidden!r} {hidden}", hidden.reveal()) == ("<hidden> <hidden>", "Tr0ub4dor&3")

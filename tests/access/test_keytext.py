"""How keys look: enough chance, a checksum that finds what people mistype, and a form that redaction knows."""

from __future__ import annotations

import string

import pytest

from llmos.access.keytext import PREFIX, new_id, new_key, well_formed
from llmos.infra.redact import MARK, redact

DIGITS = string.ascii_letters + string.digits


def test_keys_differ_and_are_well_formed() -> None:
    made = {new_key() for _ in range(200)}
    assert len(made) == 200
    assert all(well_formed(key) and len(key) == len(PREFIX) + 49 for key in made)
    assert len({new_id() for _ in range(200)}) == 200


def test_every_single_slip_is_found() -> None:
    key = new_key()
    for place in range(len(PREFIX), len(key)):
        other = DIGITS[(DIGITS.index(key[place]) + 1) % len(DIGITS)]
        assert not well_formed(key[:place] + other + key[place + 1 :])
    assert not any(well_formed(key[:place] + key[place + 1 :]) for place in range(len(key)))


def test_swapped_neighbours_are_found() -> None:
    key = new_key()
    swapped = [
        key[:at] + key[at + 1] + key[at] + key[at + 2 :] for at in range(len(PREFIX), len(key) - 1) if key[at] != key[at + 1]
    ]
    assert not any(map(well_formed, swapped))


@pytest.mark.parametrize("text", ["", "llmos_", "llmos_short", "sk-" + "a" * 49, "llmos_" + "a" * 49, "llmos_" + "é" * 49])
def test_other_texts_are_no_keys(text: str) -> None:
    assert not well_formed(text)


def test_redaction_knows_the_form() -> None:
    assert redact(f"my key is {new_key()}, keep it") == f"my key is {MARK}, keep it"

"""The catalogue is data that people edit: what must hold for every entry."""

from __future__ import annotations

import re

import pytest

from llmos.errors import NotFound
from llmos.library.catalogue import Catalogue, CatalogueEntry, catalogue
from llmos.library.names import checked_name, parse
from llmos.types import Family, Task

ENTRIES = list(catalogue())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entry_is_complete(entry: CatalogueEntry) -> None:
    assert checked_name(entry.name) == entry.name == entry.name.lower()
    assert entry.reference.scheme in ("hf", "ms", "pypi", "url")
    assert entry.tasks
    assert entry.languages
    assert entry.licence
    assert entry.summary.endswith(".")
    assert all(re.fullmatch(r"[a-z]{2}|mul", code) for code in entry.languages)
    assert all(re.fullmatch(r"[0-9a-f]{64}", sha256) for _, sha256 in entry.sha256)
    assert entry.reference.scheme != "pypi" or entry.sha256
    # At least half a byte and at most four (and a half, for what is not weights) for a parameter.
    assert 0.5 <= entry.size_bytes / entry.parameters <= 4.5
    assert entry.memory_bytes >= entry.size_bytes * 0.97
    assert (Task.GENERATE in entry.tasks) <= (entry.family in (Family.CAUSAL, Family.SEQ2SEQ))
    assert (Task.EMBED in entry.tasks) == (entry.family is Family.ENCODER)


def test_no_name_means_two_models() -> None:
    for entry in ENTRIES:
        for name in (entry.name, *entry.aliases):
            assert catalogue().find(name.upper()) is entry


def test_two_entries_of_one_name_are_refused() -> None:
    raw = {
        "name": "a",
        "source": "hf:x/y",
        "family": "causal",
        "licence": "MIT",
        "summary": "A.",
        "tasks": ["generate"],
        "parameters": 1,
        "size_bytes": 1,
        "memory_bytes": 1,
        "context_length": 1,
    }
    with pytest.raises(ValueError, match="'x/y'"):
        Catalogue({"models": [raw, {**raw, "name": "b"}], "stand_ins": []}).find("a")


def test_hub_repositories_are_known_by_their_own_names() -> None:
    assert catalogue().get("google-bert/bert-base-uncased").name == "bert-base-uncased"
    assert catalogue().get("Google-T5/T5-base").name == "t5-base"


def test_stand_ins_stand_for_something() -> None:
    for stand_in in catalogue().stand_ins.values():
        assert stand_in.target == "default" or catalogue().find(stand_in.target)
        assert stand_in.name in stand_in.why
        assert parse(f"remote:{stand_in.remote}")
    assert catalogue().stand_in("GPT-3") is not None


def test_unknown_name_gets_a_hint() -> None:
    with pytest.raises(NotFound, match=r"Did you mean .*t5-base"):
        catalogue().get("t5-bas")


def test_size() -> None:
    assert len(ENTRIES) >= 50

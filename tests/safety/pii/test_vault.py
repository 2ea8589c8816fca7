"""Pseudonyms: equal for equal values, different for different keys, and reversible only where asked."""

from __future__ import annotations

import stat

import pytest

from llmos.errors import NotFound, StorageError
from llmos.safety.pii.vault import PSEUDONYM, Vault
from llmos.settings import Settings


def test_a_value_has_one_pseudonym_per_key_and_kind(settings: Settings) -> None:
    one = Vault(settings).pseudonym("email", "a@b.org")
    assert PSEUDONYM.fullmatch(one)
    assert Vault(settings).pseudonym("email", "a@b.org") == one
    assert len({one, Vault(settings).pseudonym("phone", "a@b.org"), Vault(settings, "other").pseudonym("email", "a@b.org")}) == 3


def test_everything_in_a_vault_is_its_owners_only(settings: Settings) -> None:
    vault = Vault(settings)
    vault.keep({vault.pseudonym("email", "a@b.org"): "a@b.org"})
    for path in vault.folder.rglob("*"):
        if path.suffix != ".lock" and path.name != ".lock":
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_kept_values_come_back_and_others_stay(settings: Settings) -> None:
    vault = Vault(settings)
    known, unknown = vault.pseudonym("email", "a@b.org"), vault.pseudonym("email", "c@d.org")
    with pytest.raises(NotFound, match="keeps no values"):
        vault.restore([known])
    vault.keep({known: "a@b.org"})
    vault.keep({known: "a@b.org"})
    assert len(list((vault.folder / "kept").iterdir())) == 1
    assert Vault(settings).restore([f"{known}, {unknown}", "plain"]) == [f"a@b.org, {unknown}", "plain"]


def test_a_damaged_key_is_told(settings: Settings) -> None:
    key = Vault(settings).folder / "key"
    key.chmod(0o600)
    key.write_text("short")
    with pytest.raises(StorageError, match="does not hold a key"):
        Vault(settings)

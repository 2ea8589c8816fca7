"""The server's secret: made once, for its owner's eyes, the same for all processes of a home."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmos.access.secret import FILE, Secret
from llmos.errors import InvalidValue, StorageError
from llmos.settings import Settings


def test_made_once_for_the_owner_only(settings: Settings) -> None:
    digest = Secret.of(settings).digest("use", "text")
    path = settings.home / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text()) == 64
    assert Secret.of(settings).digest("use", "text") == digest
    assert [file.name for file in settings.home.iterdir()] == [FILE]


def test_many_at_once_agree(settings: Settings) -> None:
    with ThreadPoolExecutor(16) as threads:
        digests = set(threads.map(lambda _: Secret.of(settings).digest("a", "b"), range(64)))
    assert len(digests) == 1


def test_each_use_and_home_has_its_own_digests(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"home": tmp_path / "other"})
    assert len({Secret.of(one).digest(use, "text") for one in (settings, other) for use in ("a", "b")}) == 4


def test_the_variable_is_shared_by_homes(tmp_path: Path) -> None:
    given = {"LLMOS_SECRET": "x" * 32}
    homes = [Settings.from_env({**given, "LLMOS_HOME": str(tmp_path / name)}) for name in ("a", "b")]
    assert len({Secret.of(one).digest("a", "b") for one in homes}) == 1
    assert not (tmp_path / "a" / FILE).exists()


def test_a_short_one_is_refused(settings: Settings) -> None:
    with pytest.raises(InvalidValue, match="LLMOS_SECRET"):
        Settings.from_env({"LLMOS_SECRET": "short"})
    settings.home.mkdir(parents=True)
    (settings.home / FILE).write_text("torn")
    with pytest.raises(StorageError, match="does not hold a secret"):
        Secret.of(settings)

"""What runs keep goes when it is old; versions stay whole."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from llmos.data.kept import collect, seconds_of
from llmos.data.run import Reach, Run
from llmos.errors import Conflict
from llmos.settings import Settings
from tests.data.made import made, recipe, source, store
from tests.data.running import run


def test_old_parts_go_and_versions_stay(tmp_path: Path) -> None:
    datasets, path = store(tmp_path), source(tmp_path / "in")
    version = made(datasets, path)
    half = tmp_path / "datasets" / "made" / ".0123456789abcdef"
    half.mkdir()
    (half / "x").write_text("x")
    public = tmp_path / "datasets" / ".sources" / "humaneval-b4e2844c8655"
    public.mkdir(parents=True)
    assert collect(datasets.settings).num == 0
    told = collect(datasets.settings, older_than_s=0, dry_run=True)
    assert told.num >= 4 and half.exists()
    old = time.time() - 10 * 86_400
    for one in (tmp_path / "datasets").rglob("*"):
        os.utime(one, (old, old))
    freed = collect(datasets.settings)
    assert freed.num == told.num and freed.size_bytes == told.size_bytes > 0
    assert not half.exists() and not public.exists() and not any((tmp_path / "datasets" / ".parts").glob("*/*"))
    datasets.verify(version.ref)
    again = Run(recipe=recipe(path), datasets=datasets)
    assert again.execute().version == version.version and again.num_computed > 0


def test_what_rows_were_compared_with_goes_too(tmp_path: Path) -> None:
    rows = [{"text": "one two"}, {"text": "three four"}]
    version = run(tmp_path, rows, [{"decontaminate": {"against": [{"rows": [{"text": "one two"}]}], "ngram": 2}}])
    assert version.num_rows == 1 and list((tmp_path / "datasets" / ".known").iterdir())
    collect(Settings.from_env({"LLMOS_HOME": str(tmp_path)}), older_than_s=0)
    assert not list((tmp_path / "datasets" / ".known").iterdir())


def test_a_run_keeps_what_it_found(tmp_path: Path) -> None:
    """However old it is: what one stage found is read by the next."""
    datasets, path = store(tmp_path), source(tmp_path / "in")
    version = made(datasets, path)
    refused: list[str] = []

    class Collecting:
        def step(self) -> None:
            """Nothing."""

        def report(self, reach: Reach) -> None:
            with pytest.raises(Conflict, match="A run is under way") as problem:
                collect(datasets.settings, older_than_s=0)
            refused.append(problem.value.message)
            assert collect(datasets.settings, older_than_s=0, dry_run=True).num

    again = Run(recipe=recipe(path), datasets=datasets, control=Collecting())
    assert again.execute().version == version.version and again.num_computed == 0 and refused
    assert collect(datasets.settings, older_than_s=0).num


def test_ages() -> None:
    assert [seconds_of(text) for text in ("7d", "12h", "30m", "0", "5s")] == [604_800, 43_200, 1800, 0, 5]
    for wrong in ("", "d", "-1d", "soon", "infd"):
        with pytest.raises(ValueError, match=r".*"):
            seconds_of(wrong)

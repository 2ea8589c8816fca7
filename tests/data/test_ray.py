"""A real Ray cluster computes the same bytes as this process, and says so when it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.store import Datasets
from llmos.errors import InvalidValue, Unreachable
from llmos.library.library import Library
from llmos.settings import Settings
from tests.data.texts import documents, write_jsonl
from tests.jobs import free_port
from tests.kernel.ray_cluster import Cluster

PROCESS = [
    "normalise_whitespace",
    {"gopher_repetition": {"max_lines": 0.5}},
    {"minhash_dedup": {"threshold": 0.6}},
    {"text_length": {"min_chars": 300}},
]


def recipe(tmp_path: Path, executor: str) -> Recipe:
    texts = documents()[:300]
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in [*texts, *texts[:50]]])
    small = {"slice_bytes": 40_000, "batch_bytes": 10_000}
    return Recipe.build(
        {"name": "t", "sources": [{"path": str(source)}], "process": PROCESS, "read": small, "executor": executor, "workers": 2}
    )


def datasets(home: Path, address: str = "") -> Datasets:
    settings = Settings.from_env({"LLMOS_HOME": str(home)} | ({"LLMOS_RAY_ADDRESS": address} if address else {}))
    return Datasets(settings, Library.open(settings).database)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_gives_the_same_bytes(tmp_path: Path) -> None:
    here = Run(recipe=recipe(tmp_path, "inline"), datasets=datasets(tmp_path / "here")).execute()
    with Cluster() as cluster:
        run = Run(recipe=recipe(tmp_path, "ray"), datasets=datasets(tmp_path / "there", cluster.address))
        there = run.execute()
    assert run.num_computed > 4
    files = ("files", "ledger")
    assert [there.manifest[kind] for kind in files] == [here.manifest[kind] for kind in files]
    assert there.version == here.version


def test_without_a_cluster_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="LLMOS_RAY_ADDRESS"):
        Run(recipe=recipe(tmp_path, "ray"), datasets=datasets(tmp_path / "a")).execute()
    with pytest.raises(Unreachable, match="not there"):
        Run(recipe=recipe(tmp_path, "ray"), datasets=datasets(tmp_path / "b", f"127.0.0.1:{free_port()}")).execute()

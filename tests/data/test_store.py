"""Versions when several publish and remove at the same time, when their files are gone, and that nothing writes into them later."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmos.data.store import Datasets
from llmos.errors import Conflict, CorruptFile, NotFound
from tests.data.made import made, source, store
from tests.data.running import run


def of_project(datasets: Datasets, project: str | None) -> Datasets:
    return Datasets(datasets.settings, datasets.database, project)


def test_two_projects_share_the_files_of_a_version(tmp_path: Path) -> None:
    everybody, path = store(tmp_path), source(tmp_path / "in")
    ann, bob = of_project(everybody, "ann"), of_project(everybody, "bob")
    one, other = made(ann, path), made(bob, path)
    assert (one.version, one.path) == (other.version, other.path) and (one.project, other.project) == ("ann", "bob")
    ann.remove(one.ref)
    with pytest.raises(NotFound):
        ann.get("made")
    bob.verify("made")
    bob.remove("made")
    assert not one.path.exists() and everybody.list() == []


def test_the_same_is_published_and_removed_by_many(tmp_path: Path) -> None:
    """Whatever the order, whoever has a version in the end has its files, and nothing else is left."""
    everybody = store(tmp_path)
    first = made(everybody, source(tmp_path / "in"))
    told = [first.path / file["path"] for file in first.manifest["ledger"]]
    parts = (
        [path.rename(tmp_path / path.name) for path in first.files],
        [(one.stem, one.rename(tmp_path / one.name)) for one in told],
    )
    everybody.remove("made")

    def publish_and_remove(project: str) -> str:
        datasets = of_project(everybody, project)
        for _ in range(12):
            datasets.publish("made", first.manifest, *parts, lambda _: ())
            datasets.remove("made")
        return datasets.publish("made", first.manifest, *parts, lambda _: ()).version

    with ThreadPoolExecutor(8) as threads:
        found = {*threads.map(publish_and_remove, [f"p{number}" for number in range(8)])}
    assert len(found) == 1
    for number in range(8):
        of_project(everybody, f"p{number}").verify("made")
    assert [one.name for one in (tmp_path / "datasets" / "made").iterdir()] == [*found]


def test_a_version_without_its_files_stands_in_nobodys_way(tmp_path: Path) -> None:
    datasets = store(tmp_path)
    good, gone = (run(tmp_path, [{"text": text}], [], name=name) for name, text in (("good", "a"), ("gone", "b")))
    shutil.rmtree(gone.path)
    assert datasets.get("good").version == good.version
    with pytest.raises(CorruptFile, match=rf"The files of {gone.ref} are gone .* llmos data rm {gone.ref}"):
        datasets.list()
    with pytest.raises(CorruptFile):
        datasets.get("gone")
    datasets.remove("gone")
    assert [one.name for one in datasets.list()] == ["good"]


def test_what_is_half_removed_makes_room(tmp_path: Path) -> None:
    datasets, path = store(tmp_path), source(tmp_path / "in")
    version = made(datasets, path)
    (version.path / "manifest.json").unlink()
    assert made(datasets, path).version == version.version
    datasets.verify("made")


def test_removing_what_another_was_made_of_changes_nothing(tmp_path: Path) -> None:
    datasets = store(tmp_path)
    run(tmp_path, [{"text": "a"}], [], name="first")
    run(tmp_path, [], [], sources=[{"dataset": "first"}], name="second")
    with pytest.raises(Conflict, match="Remove that first"):
        datasets.remove("first")
    datasets.verify("first")
    assert not [one for one in (tmp_path / "datasets" / "first").iterdir() if one.name.startswith(".")]


def test_later_runs_write_nothing_into_a_version(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    source(folder)
    (folder / "damaged.parquet").write_bytes(b"PAR1 and nothing else")
    first = made(store(tmp_path), folder)
    files = {path: path.stat() for path in first.path.rglob("*") if path.is_file()}
    second = made(store(tmp_path), folder, ["lowercase"])
    assert second.version != first.version and any(path.name == "files.parquet" for path in files)
    for path, before in files.items():
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert sum(1 for name in os.listdir(tmp_path / "datasets" / ".parts") if name.endswith(".parquet")) == 1  # noqa: PTH208


def test_a_client_of_a_server_brings_no_more_than_it_may_upload(tmp_path: Path) -> None:
    everybody = store(tmp_path)
    assert of_project(everybody, "team").max_url_bytes == everybody.settings.max_upload_bytes
    assert everybody.max_url_bytes is None

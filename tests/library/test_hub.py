"""Pulling from a hub that speaks the real protocol, and from the caches of other clients."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llmos.errors import CorruptFile, NotFound, PermissionDenied, Unreachable, UnsafeFile
from llmos.library.base import Progress
from llmos.library.library import Library
from llmos.types import Family, Task
from tests.hub.server import Hub, Repo, sha256
from tests.library.conftest import NOWHERE


def fetched(hub: Hub) -> list[str]:
    """Files of models that were asked for, without redirects."""
    return [line for line in hub.seen if "/resolve/" in line or "/cdn/" in line]


def test_bert_and_t5_come_under_their_real_names(hub_library: Library, hub: Hub) -> None:
    bert, t5 = hub_library.pull("bert-base-uncased"), hub_library.pull("t5-base")
    assert (bert.name, bert.family, bert.architecture, bert.format) == ("bert-base-uncased", Family.MASKED, "bert", "safetensors")
    assert (t5.name, t5.family, t5.architecture) == ("t5-base", Family.SEQ2SEQ, "t5")
    assert bert.source == f"hf:google-bert/bert-base-uncased@{hub.repos['google-bert/bert-base-uncased'].commit}"
    assert Task.TRANSLATE in t5.tasks
    assert bert.licence == "Apache-2.0"
    folder = hub_library.resolve("bert-base-uncased").folder
    for file in bert.files:
        assert sha256(folder / file.path) == file.sha256
        assert (folder / file.path).stat().st_mode & 0o222 == 0
    assert all(verdict.ok for verdict in hub_library.verify("t5-base"))


@pytest.mark.parametrize(
    "name", ["bert-base-uncased", "google-bert/bert-base-uncased", "hf:google-bert/bert-base-uncased", "BERT", "hf:bert-base-uncased"]
)  # fmt: skip
def test_every_way_to_write_a_hub_name(hub_library: Library, name: str) -> None:
    card = hub_library.ensure(name).card
    assert card.architecture == "bert"
    assert hub_library.resolve(name).card == card


def test_a_second_pull_fetches_nothing(hub_library: Library, hub: Hub) -> None:
    first = hub_library.pull("t5-base")
    hub.seen.clear()
    assert hub_library.pull("t5-base") == first
    assert hub_library.pull(first.source) == first
    assert fetched(hub) == []
    assert len(hub.seen) == 1  # the listing, once: the second name is pinned


def test_progress_ends_with_everything(hub_library: Library) -> None:
    seen: list[Progress] = []
    card = hub_library.pull("bert-base-uncased", progress=seen.append)
    assert [report.stage for report in seen if report.stage != "download"] == ["plan", "inspect"]
    downloads = [report for report in seen if report.stage == "download"]
    assert downloads[-1].done_bytes == downloads[-1].total_bytes == card.size_bytes
    assert [report.done_bytes for report in downloads] == sorted(report.done_bytes for report in downloads)


def test_a_broken_connection_is_resumed(hub_library: Library, hub: Hub) -> None:
    hub.faults.cut["model.safetensors"] = 100_000
    card = hub_library.pull("bert-base-uncased")
    assert all(verdict.ok for verdict in hub_library.verify(card.name))
    assert hub.faults.cut == {}


def test_wrong_bytes_are_never_a_model(hub_library: Library, hub: Hub) -> None:
    weights = hub.repos["google-t5/t5-base"].folder / "model.safetensors"
    hub.faults.swap["model.safetensors"] = bytes(weights.stat().st_size)
    with pytest.raises(CorruptFile, match="SHA-256"):
        hub_library.pull("t5-base")
    assert hub_library.list() == []
    with pytest.raises(NotFound):
        hub_library.resolve("t5-base")
    hub.faults.swap.clear()
    assert hub_library.pull("t5-base").name == "t5-base"


def test_new_commits_are_new_versions(make_library: Callable[..., Library], hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    shutil.copytree(hub.repos["google-bert/bert-base-uncased"].folder, folder)
    with Hub({"me/mine": Repo(folder, licence="mit")}) as own:
        library = make_library(HF_ENDPOINT=own.url)
        first = library.pull("me/mine")
        assert (first.name, first.licence) == ("me/mine", "mit")
        (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text() + "\nnew\n")
        second = library.pull("me/mine")
        assert second.version != first.version
        assert library.resolve("me/mine").card == second
        assert library.resolve(f"me/mine:{first.version[:12]}").card == first
        assert library.resolve(first.source).card == first
        shared = {file.sha256 for file in first.files} & {file.sha256 for file in second.files}
        assert len(shared) == len(first.files) - 1
        library.remove(f"me/mine:{first.version}")
        assert library.resolve("me/mine").card == second
        assert all(verdict.ok for verdict in library.verify("me/mine"))


def test_tokens(make_library: Callable[..., Library], hub: Hub) -> None:
    folder = hub.repos["google-bert/bert-base-uncased"].folder
    with Hub({"me/private": Repo(folder, token="hf_secret")}) as own:
        with pytest.raises(PermissionDenied, match=r"HF_TOKEN"):
            make_library(HF_ENDPOINT=own.url).pull("hf:me/private")
        assert make_library(HF_ENDPOINT=own.url, HF_TOKEN="hf_secret").pull("hf:me/private").name == "me/private"


def test_unknown_repository_and_revision(hub_library: Library) -> None:
    with pytest.raises(PermissionDenied, match="does not exist, is private"):
        hub_library.pull("hf:nobody/nothing")
    with pytest.raises(NotFound, match="has no hf:google-t5/t5-base@v9"):
        hub_library.pull("hf:google-t5/t5-base@v9")


def test_pickled_weights_are_not_even_fetched(make_library: Callable[..., Library], tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "config.json").write_text("{}")
    (tmp_path / "repo" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with Hub({"me/pickle": Repo(tmp_path / "repo")}) as own:
        with pytest.raises(UnsafeFile, match=r"pytorch_model\.bin"):
            make_library(HF_ENDPOINT=own.url).pull("hf:me/pickle")
        assert fetched(own) == []


def test_a_pickle_that_calls_itself_safetensors_does_not_stay(make_library: Callable[..., Library], tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (tmp_path / "repo" / "model.safetensors").write_bytes(
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94."
    )
    with Hub({"me/pickle": Repo(tmp_path / "repo")}) as own:
        library = make_library(HF_ENDPOINT=own.url)
        with pytest.raises(UnsafeFile, match="pickle"):
            library.pull("hf:me/pickle")
        assert library.list() == []
        assert library.gc(dry_run=True).blobs == ()
        assert library.gc(dry_run=True).folders == ()


def test_offline_the_error_names_cause_and_alternatives(
    library: Library, asset: Callable[[str], Path], make_library: Callable[..., Library]
) -> None:
    library.import_path(asset("bert-tiny-mlm"), name="bert-tiny-splade")
    with pytest.raises(Unreachable) as caught:
        library.ensure("bert-base-uncased")
    assert "bert-base-uncased is not on this machine" in caught.value.message
    assert NOWHERE.removeprefix("http://") in caught.value.message
    assert "On this machine for the same tasks: bert-tiny-splade" in caught.value.hint
    assert "HF_ENDPOINT" in caught.value.hint
    assert "llmos import FOLDER --name bert-base-uncased" in caught.value.hint


def as_cache(hub: Hub, name: str, cache: Path) -> str:
    """The repository as huggingface_hub would have left it in its cache. Returns the commit."""
    repo = hub.repos[name]
    folder = cache / "hub" / f"models--{name.replace('/', '--')}"
    for file in repo.names:
        source = repo.folder / file
        blob = folder / "blobs" / (sha256(source) if repo.is_large(file) else "0" * 39 + str(repo.names.index(file)))
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(source.read_bytes())
        link = folder / "snapshots" / repo.commit / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path("../..") / "blobs" / blob.name)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(repo.commit)
    return repo.commit


def test_the_hub_cache_is_used_in_place(hub_library: Library, hub: Hub) -> None:
    commit = as_cache(hub, "google-t5/t5-base", hub_library.settings.hf_home)
    card = hub_library.pull("t5-base")
    assert fetched(hub) == []
    assert card.source.endswith(commit)
    weights = hub_library.resolve("t5-base").folder / "model.safetensors"
    assert hub_library.settings.hf_home in weights.resolve().parents
    hub_library.remove("t5-base")
    assert weights.resolve().name == "model.safetensors"  # our links are gone
    assert as_files(hub_library.settings.hf_home)  # the cache's files are not


def as_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("model.safetensors") if path.is_file()]


@pytest.mark.parametrize("offline", ["", "1"])
def test_without_network_the_cache_is_enough(make_library: Callable[..., Library], hub: Hub, offline: str) -> None:
    library = make_library(HF_HUB_OFFLINE=offline)
    with pytest.raises(Unreachable):
        library.pull("bert-base-uncased")
    as_cache(hub, "google-bert/bert-base-uncased", library.settings.hf_home)
    card = library.pull("bert-base-uncased")
    assert card.family is Family.MASKED
    assert library.resolve("hf:google-bert/bert-base-uncased").card == card


def test_a_cache_that_went_away_is_fetched_again(hub_library: Library, hub: Hub) -> None:
    as_cache(hub, "google-t5/t5-base", hub_library.settings.hf_home)
    hub_library.pull("t5-base")
    shutil.rmtree(hub_library.settings.hf_home)
    with pytest.raises(CorruptFile, match=r"model\.safetensors .* is damaged: missing"):
        hub_library.resolve("t5-base")
    assert hub_library.ensure("t5-base").card.name == "t5-base"
    assert all(verdict.ok for verdict in hub_library.verify("t5-base"))


def test_modelscope(hub_library: Library, hub: Hub) -> None:
    card = hub_library.pull("ms:google-t5/t5-base")
    assert card.source == "ms:google-t5/t5-base@master"
    assert card.version == hub_library.pull("hf:google-t5/t5-base").version  # the same content, wherever it came from
    with pytest.raises(NotFound, match="model not found"):
        hub_library.pull("ms:nobody/nothing")


def test_an_address(hub_library: Library, hub: Hub, make_library: Callable[..., Library], asset: Callable[[str], Path]) -> None:
    model = asset("smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    with Hub({"me/gguf": Repo(model.parent)}) as own:
        library = make_library(HF_ENDPOINT=own.url)
        address = f"{own.url}/cdn/{sha256(model)}"
        with pytest.raises(CorruptFile):
            library.pull(f"{address}#sha256={'0' * 64}")
        card = library.pull(f"hf:me/gguf:{model.name}")
        assert card.name == "me/gguf/smollm2-135m-instruct.q4_1"
        again = library.pull(f"{address}#sha256={sha256(model)}")
        assert [file.sha256 for file in again.files] == [file.sha256 for file in card.files]

"""The library as its users see it: import, names, aliases, removal, checking, cleaning."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from llmos.errors import Cancelled, Conflict, CorruptFile, InvalidValue, LicenceNotAccepted, NotFound, StorageError, UnsafeFile
from llmos.library.base import ModelCard
from llmos.library.cards import dump_card, load_card
from llmos.library.download import Downloader
from llmos.library.library import Library
from llmos.library.sources.base import Piece, Plan, RemoteFile
from llmos.types import Family
from tests.hub.server import Hub

Asset = Callable[[str], Path]


@pytest.fixture
def tiny(library: Library, asset: Asset) -> ModelCard:
    return library.import_path(asset("bert-tiny-mlm"), name="tiny")


def test_import_a_folder(library: Library, tiny: ModelCard, asset: Asset) -> None:
    assert (tiny.name, tiny.family, tiny.architecture) == ("tiny", Family.MASKED, "bert")
    assert "heads.pt" not in [file.path for file in tiny.files]  # a pickle that lay beside
    assert library.resolve("tiny").card == tiny
    assert library.resolve(f"tiny:{tiny.version[:12]}").folder.name == tiny.version
    assert library.resolve(f"file:{asset('bert-tiny-mlm')}").card == tiny
    assert [card.ref for card in library.list()] == [tiny.ref]


def test_import_a_file_names_it(library: Library, asset: Asset) -> None:
    card = library.import_path(asset("smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert (card.name, card.family, card.context_length) == ("smollm2-135m-instruct.q4_1", Family.CAUSAL, 8192)
    assert card.chat_template_sha256


def test_the_copy_does_not_hang_on_the_original(library: Library, asset: Asset, tmp_path: Path) -> None:
    original = tmp_path / "model"
    original.mkdir()
    for path in asset("bert-tiny-mlm").iterdir():
        (original / path.name).write_bytes(path.read_bytes())
    card = library.import_path(original)
    (original / "model.safetensors").write_bytes(b"")
    assert card.name == "model"
    assert all(verdict.ok for verdict in library.verify("model"))


@pytest.mark.parametrize("missing", ["/nowhere/at/all", "nothing-here"])
def test_import_of_nothing(library: Library, missing: str) -> None:
    with pytest.raises(NotFound, match="no file or folder"):
        library.import_path(missing)


def test_what_is_refused_leaves_nothing(library: Library, tmp_path: Path) -> None:
    bad = tmp_path / "model.gguf"
    bad.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(UnsafeFile):
        library.import_path(bad)
    report = library.gc(dry_run=True)
    assert (library.list(), report.blobs, report.folders, report.partials) == ([], (), (), ())


def test_unknown_names_say_what_to_type(library: Library, tiny: ModelCard) -> None:
    with pytest.raises(NotFound, match="llmos pull smollm2-135m-instruct"):
        library.resolve("smollm2")
    with pytest.raises(NotFound, match="Did you mean tiny"):
        library.resolve("tny")
    with pytest.raises(NotFound, match=f"There are: {tiny.ref}"):
        library.resolve("tiny:" + "0" * 12)
    with pytest.raises(NotFound, match="There is no model 'tny'"):
        library.ensure("tny")


def test_cards_are_data(tiny: ModelCard) -> None:
    assert load_card(dump_card(tiny)) == tiny


def test_the_same_content_is_the_same_version(library: Library, tiny: ModelCard, asset: Asset) -> None:
    other = library.import_path(asset("bert-tiny-mlm"), name="other")
    assert other.version == tiny.version
    library.remove("other")
    assert all(verdict.ok for verdict in library.verify("tiny"))
    assert library.import_path(asset("bert-tiny-mlm"), name="tiny") == tiny


def test_stand_ins_say_so(make_library: Callable[..., Library], asset: Asset) -> None:
    library = make_library(LLMOS_DEFAULT_MODEL="tiny")
    library.import_path(asset("bert-tiny-mlm"), name="tiny")
    for found in (library.resolve("gpt-3"), library.ensure("GPT-3")):
        assert found.card.name == "tiny"
        assert found.notice == "gpt-3 cannot be downloaded; its weights are not public. Here it means tiny."
    assert library.resolve("tiny").notice == ""


def test_with_an_endpoint_they_mean_the_remote_model(make_library: Callable[..., Library]) -> None:
    library = make_library(OPENAI_BASE_URL="https://api.example.org/v1")
    found = library.ensure("gpt-4o")
    assert (found.card.family, found.card.name, found.card.source) == (Family.REMOTE, "remote:gpt-4o", "https://api.example.org/v1")
    assert "remote:gpt-4o" in found.notice
    assert library.resolve("remote:anything").card.extra["model"] == "anything"
    with pytest.raises(InvalidValue, match="nothing to fetch"):
        library.pull("gpt-4o")


def test_our_own_server_is_no_remote_endpoint(make_library: Callable[..., Library], asset: Asset) -> None:
    library = make_library(OPENAI_BASE_URL="http://localhost:8123/v1", LLMOS_PORT="8123", LLMOS_DEFAULT_MODEL="tiny")
    library.import_path(asset("bert-tiny-mlm"), name="tiny")
    assert library.resolve("gpt-4o").card.name == "tiny"
    with pytest.raises(NotFound, match="OPENAI_BASE_URL"):
        library.resolve("remote:gpt-4o")


def test_aliases_move_and_come_back(library: Library, tiny: ModelCard, asset: Asset) -> None:
    second = library.import_path(asset("minilm"), name="second")
    library.alias("prod", "tiny", "first", actor="ann")
    library.alias("prod", f"second:{second.version[:12]}", "better", actor="bob")
    library.alias("live", "prod")
    assert library.resolve("live").card == second
    assert [(move.target, move.actor, move.reason) for move in library.alias_history("prod")] == [
        (f"second:{second.version[:12]}", "bob", "better"),
        ("tiny", "ann", "first"),
    ]
    library.alias("prod", "tiny", "third")
    assert library.rollback_alias("prod") == f"second:{second.version[:12]}"
    assert library.rollback_alias("prod") == "tiny"
    with pytest.raises(Conflict, match="no earlier target"):
        library.rollback_alias("prod")
    assert library.aliases() == {"live": "prod", "prod": "tiny"}
    library.unalias("live")
    assert library.aliases() == {"prod": "tiny"}
    assert library.alias_history("live")[0].target is None


def test_aliases_that_cannot_be(library: Library, tiny: ModelCard) -> None:
    library.alias("a", "tiny")
    library.alias("b", "a")
    with pytest.raises(Conflict, match="lead to itself"):
        library.alias("a", "b")
    with pytest.raises(Conflict, match="A model is called 'tiny'"):
        library.alias("tiny", "a")
    with pytest.raises(NotFound):
        library.alias("c", "nothing")
    with pytest.raises(InvalidValue):
        library.alias("hf:x/y", "tiny")
    with pytest.raises(NotFound, match="Did you mean"):
        library.unalias("aa")


def test_an_alias_of_a_known_name_says_so(library: Library, tiny: ModelCard) -> None:
    library.alias("bert-base-uncased", "tiny")
    found = library.resolve("bert-base-uncased")
    assert (found.card, found.notice) == (tiny, "bert-base-uncased is an alias here and means tiny.")


def test_a_model_in_use_is_not_removed(library: Library, tiny: ModelCard) -> None:
    library.alias("prod", "tiny")
    with pytest.raises(Conflict, match="alias prod needs"):
        library.remove("tiny")
    library.unalias("prod")
    freed_bytes = library.remove("tiny")
    assert freed_bytes == tiny.size_bytes
    assert (library.list(), list(library.store.blobs), library.store.versions()) == ([], [], [])
    with pytest.raises(NotFound):
        library.remove("tiny")


def test_verify_reads_every_byte_and_pull_mends(make_library: Callable[..., Library], hub: Hub, asset: Asset) -> None:
    library = make_library(HF_ENDPOINT=hub.url)
    card = library.pull("t5-base")
    weights = next(file for file in card.files if file.path == "model.safetensors")
    blob = library.store.blobs.path(weights.sha256)
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(weights.size_bytes // 2)
        file.write(b"\xff\x00\xff")
    bad = [verdict for verdict in library.verify("t5-base") if not verdict.ok]
    assert [(verdict.path, verdict.problem) for verdict in bad] == [("model.safetensors", "its content has another SHA-256")]
    assert library.pull("t5-base") == card
    assert all(verdict.ok for verdict in library.verify("t5-base"))


def _flip_a_byte(library: Library, card: ModelCard) -> Path:
    """One byte of the weights changes, with the time that the file had. Returns the blob."""
    weights = next(file for file in card.files if file.path == "model.safetensors")
    blob = library.store.blobs.path(weights.sha256)
    before = blob.stat()
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(weights.size_bytes // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    return blob


def test_a_changed_file_is_not_loaded(make_library: Callable[..., Library], asset: Asset) -> None:
    library = make_library()
    card = library.import_path(asset("bert-tiny-mlm"), name="tiny")
    blob = _flip_a_byte(library, card)
    assert make_library().resolve("tiny").card == card  # the same size, time and inode: known from the import, not read again
    os.utime(blob)
    for process in (library, make_library()):
        with pytest.raises(CorruptFile, match=r"model\.safetensors of tiny:.*another SHA-256.*llmos pull tiny") as caught:
            process.resolve("tiny")
        assert caught.value.param == "model"
        with pytest.raises(CorruptFile):
            process.check(card)
    assert library.show("tiny") == card  # it can still be looked at, mended and removed
    assert library.pull("tiny") == card
    assert make_library().resolve("tiny").card == card


def test_scrub_finds_what_the_clock_hides(library: Library, tiny: ModelCard) -> None:
    _flip_a_byte(library, tiny)
    assert library.resolve("tiny").card == tiny
    assert [verdict.path for verdict in library.verify("tiny") if not verdict.ok] == ["model.safetensors"]
    with pytest.raises(CorruptFile):
        library.resolve("tiny")
    library.remove("tiny")
    assert not list(library.store.blobs.root.rglob("*.verified"))


def test_a_file_never_checked_is_read_once(make_library: Callable[..., Library], asset: Asset) -> None:
    library = make_library()
    card = library.import_path(asset("bert-tiny-mlm"), name="tiny")
    for record in library.store.blobs.root.rglob("*.verified"):
        record.write_text("not a record")
    _flip_a_byte(library, card)
    with pytest.raises(CorruptFile):
        make_library().resolve("tiny")


def test_what_cannot_be_mended_says_both(library: Library, tmp_path: Path, asset: Asset) -> None:
    original = tmp_path / "model"
    shutil.copytree(asset("bert-tiny-mlm"), original)
    card = library.import_path(original, name="tiny")
    assert library.ensure("tiny").card == card
    os.utime(_flip_a_byte(library, card))
    shutil.rmtree(original)
    with pytest.raises(CorruptFile, match=r"is damaged: .*could not be mended: .*no file or folder.*llmos pull tiny"):
        library.ensure("tiny")
    shutil.copytree(asset("bert-tiny-mlm"), original)
    assert library.ensure("tiny").card == card
    assert all(verdict.ok for verdict in library.verify("tiny"))


def test_gc_takes_what_nobody_has(library: Library, tiny: ModelCard, tmp_path: Path) -> None:
    stray = tmp_path / "stray"
    stray.write_bytes(b"x" * 1000)
    sha256 = library.store.blobs.add_file(stray)
    library.store.blobs.partial("half").write_bytes(b"y" * 10)
    (library.store.home / "staging-dead" / "m").mkdir(parents=True)
    found = library.gc(dry_run=True)
    assert (found.blobs, found.folders, len(found.partials), found.freed_bytes) == ((sha256,), ("staging-dead",), 1, 1010)
    assert library.store.blobs.has(sha256)
    assert library.gc().freed_bytes == 1010
    assert not library.store.blobs.has(sha256)
    assert all(verdict.ok for verdict in library.verify("tiny"))
    assert library.gc(dry_run=True).freed_bytes == 0


def test_gc_waits_for_no_pull(library: Library, tiny: ModelCard) -> None:
    with library.store.lock("store", shared=True), pytest.raises(Conflict, match="another process"):
        library.gc()


def test_terms_are_accepted_first(library: Library) -> None:
    with pytest.raises(LicenceNotAccepted, match=r"https://ai\.google\.dev/gemma/terms.*--accept-licence"):
        library.pull("gemma-3-270m")
    library.accept_licence("gemma-3-270m")
    with pytest.raises(Exception, match="cannot be reached"):  # the index is nowhere; the licence is no longer the obstacle
        library.pull("gemma-3-270m")


def test_two_pulls_at_once_are_one(make_library: Callable[..., Library], hub: Hub) -> None:
    hub.seen.clear()
    library = make_library(HF_ENDPOINT=hub.url)
    found: list[ModelCard] = []
    threads = [threading.Thread(target=lambda: found.append(library.pull("bert-base-uncased"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({card.version for card in found}) == len(library.list()) == 1
    assert sum("/resolve/" in line and line.endswith("config.json") and "GET" in line for line in hub.seen) <= 2


def test_a_cancelled_pull_is_no_model(make_library: Callable[..., Library], hub: Hub) -> None:
    library = make_library(HF_ENDPOINT=hub.url)
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        library.pull("t5-base", cancel=cancel, progress=lambda _: cancel.set())
    assert library.list() == []
    assert library.pull("t5-base").name == "t5-base"


def test_a_full_disk_is_said_before_the_first_byte(library: Library) -> None:
    piece = Piece(url="https://example.org/x", size_bytes=10**18)
    plan = Plan(source="hf:a/b", files=(RemoteFile(path="x.gguf", pieces=(piece,)),))
    loader = Downloader(plan, fetcher=library.fetcher, blobs=library.store.blobs, pins={})
    with pytest.raises(StorageError, match="needs 1,000,000,000,000,000,000 bytes"):
        loader.run()


def test_the_catalogue_pin_wins_over_the_source(library: Library) -> None:
    plan = Plan(source="hf:a/b", files=(RemoteFile(path="x.gguf", sha256="a" * 64),))
    with pytest.raises(CorruptFile, match="the catalogue wants b"):
        Downloader(plan, fetcher=library.fetcher, blobs=library.store.blobs, pins={"x.gguf": "b" * 64}).run()

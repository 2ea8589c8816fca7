"""Sources that lie elsewhere: a file over https, objects of an S3-compatible store. They are brought to this machine once and read here.

    LLMOS_HOME/datasets/.remote/<hash of the address>/<hash of its version>/<name>

The version is what the server tells apart files by (ETag, else Last-Modified with the size). What is there in that version is not
fetched again; a transfer that broke off goes on where it was (https) or begins anew (S3). The S3 client is s3fs (extra `data`), so that
its environment variables hold: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_ENDPOINT_URL for MinIO, Ceph and others.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from llmos.errors import InvalidValue, LLMOSError, MissingExtra, NotFound, PermissionDenied, SourceError, SourceStatus, Unreachable
from llmos.infra.fetch import Fetcher
from llmos.infra.files import fsync_dir, fsync_file, make_dir, storage_errors
from llmos.settings import Settings

MAX_OBJECTS = 100_000
MAX_NAME_BYTES = 200  # of a file, whose temporary name is longer; file systems allow 255
_MAGIC = frozenset("*?[")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def fetched(
    uri: str, settings: Settings, fetcher: Fetcher | None = None, *, max_bytes: int | None = None
) -> Iterator[tuple[Path, str]]:
    """(path on this machine, label) of a URL, or of an `s3://bucket/key`, prefix ending in `/`, or glob. max_bytes: of a URL. Raises
    NotFound, InvalidValue, MissingExtra, LimitExceeded, and what the network and the disk raise."""
    root = settings.home / "datasets" / ".remote"
    if uri.startswith("s3://"):
        yield from _objects(uri, root)
    else:
        with fetcher or Fetcher(settings) as door:
            yield _page(uri, root, door, max_bytes)


def _place(root: Path, uri: str, version: str, name: str) -> Path:
    address, kind = (hashlib.sha256(text.encode()).hexdigest()[:16] for text in (uri, version))
    short = name.replace("/", "_").encode()[-MAX_NAME_BYTES:].decode(errors="ignore")
    return root / address / kind / (short.lstrip(".") or "file")


# -- https -------------------------------------------------------------------------------------------------------------
def _page(url: str, root: Path, door: Fetcher, max_bytes: int | None) -> tuple[Path, str]:
    name = _CONTROL.sub("_", unquote(Path(urlsplit(url).path).name)) or "index.html"
    version, size_bytes = _version(url, door)
    target = _place(root, url, version, name)
    if version and target.is_file():
        return target, name
    door.download(url, target, size_bytes=size_bytes, max_bytes=max_bytes)
    return target, name


def _version(url: str, door: Fetcher) -> tuple[str, int | None]:
    """("", None) for a server that does not tell."""
    try:
        headers = door.head(url).headers
    except NotFound as problem:
        raise NotFound(problem.message, param="url", hint=problem.hint) from None
    except SourceStatus as problem:
        if problem.status in (405, 501):  # no HEAD
            return "", None
        raise
    length = headers.get("content-length", "")
    told = headers.get("etag") or (headers.get("last-modified", "") and f"{headers['last-modified']} {length}")
    plain = length.isdecimal() and "content-encoding" not in headers
    return told or "", int(length) if plain else None


# -- S3 ----------------------------------------------------------------------------------------------------------------
def _objects(uri: str, root: Path) -> Iterator[tuple[Path, str]]:
    """In the order of their keys."""
    store, key = s3(), uri.removeprefix("s3://")
    if "/" not in key or not key.split("/", 1)[0]:
        raise InvalidValue(
            f"{uri} names no object.", param="path", hint="s3://bucket/key, s3://bucket/folder/ or s3://bucket/*.jsonl"
        )
    with s3_errors(uri):
        listed = _listed(store, key)
    if not listed:
        raise NotFound(f"There is no object {uri}.", param="path", hint="A folder ends in /, a glob has a *.")
    if len(listed) > MAX_OBJECTS:
        raise InvalidValue(f"{uri} means {len(listed):,} objects; {MAX_OBJECTS:,} are read.", param="path")
    fixed = _fixed(key)
    for name, facts in sorted(listed.items()):
        version = f"{facts.get('ETag') or facts.get('LastModified')} {facts.get('size')}"
        target = _place(root, f"s3://{name}", version, name.rpartition("/")[2])
        if not target.is_file():
            _get(store, name, int(facts.get("size") or 0), target)
        yield target, name.removeprefix(fixed)


def _listed(store: Any, key: str) -> dict[str, dict[str, Any]]:
    if _MAGIC & set(key):
        found = store.glob(key, detail=True)
    elif key.endswith("/"):
        found = store.find(key, detail=True)
    else:
        found = {key: store.info(key)}
    return {name: facts for name, facts in found.items() if facts.get("type") == "file"}


def _fixed(key: str) -> str:
    """The part of the key that is the same for all: up to the last `/` before anything variable."""
    start = next((place for place, letter in enumerate(key) if letter in _MAGIC), len(key))
    return key[: key.rfind("/", 0, start) + 1]


def _get(store: Any, name: str, size_bytes: int, target: Path) -> None:
    make_dir(target.parent)
    partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    with storage_errors(target), s3_errors(f"s3://{name}"):
        try:
            store.get_file(name, str(partial))
            found = partial.stat().st_size
            if found != size_bytes:
                raise SourceError(f"s3://{name} gave {found:,} bytes, announced were {size_bytes:,}.", hint="Try again.")
            fsync_file(partial)
            partial.replace(target)
            fsync_dir(target.parent)
        finally:
            partial.unlink(missing_ok=True)


def s3() -> Any:
    """The client of the S3-compatible store that the environment names."""
    if find_spec("s3fs") is None:
        raise MissingExtra("data", needed_for="s3:// paths")
    import s3fs

    return s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)


@contextmanager
def s3_errors(uri: str) -> Iterator[None]:
    """Turns the client's errors into ours."""
    try:
        yield
    except LLMOSError:
        raise
    except Exception as problem:
        told = _told(uri, problem)
        if told is None:
            raise
        raise told from problem


def _told(uri: str, problem: Exception) -> LLMOSError | None:
    from botocore import exceptions as boto  # type: ignore[import-untyped,unused-ignore]

    if isinstance(problem, FileNotFoundError):
        return NotFound(f"There is no object {uri}.", param="path", hint="A folder ends in /, a glob has a *.")
    if isinstance(problem, boto.NoCredentialsError | boto.PartialCredentialsError):
        hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL for another store than AWS."
        return PermissionDenied(f"There are no credentials for {uri}.", hint=hint)
    if isinstance(problem, PermissionError):
        return PermissionDenied(f"The store gives no access to {uri}: {problem}", hint="Check the key and the bucket's policy.")
    if isinstance(problem, boto.HTTPClientError | boto.ConnectionError):
        return Unreachable(f"The store of {uri} is not reachable: {problem}", hint="AWS_ENDPOINT_URL says where it is.")
    if isinstance(problem, boto.BotoCoreError | boto.ClientError):
        return SourceError(f"The store of {uri} failed: {problem}")
    return SourceError(f"The store of {uri} failed: {problem}") if isinstance(problem, OSError) and problem.errno is None else None

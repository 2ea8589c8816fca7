"""The Hugging Face hub, by its own HTTP protocol, and the cache that its other clients keep on this machine.

One request lists a repository at a revision (commit, files, sizes, SHA-256 of large files, licence); files are then at
/{repo}/resolve/{commit}/{file}. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured. Files that another client has in the
cache are used where they lie; without network a cached revision is enough.
Protocol: https://huggingface.co/docs/hub/api
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from llmos.errors import NotFound, SourceError, Unreachable
from llmos.library.names import Reference, relative_path
from llmos.library.sources.base import Access, Piece, Plan, RemoteFile, Source, sources
from llmos.library.sources.select import choose_files


@sources.register("hf")
class HuggingFaceSource(Source):
    where = "the Hugging Face hub"

    def plan(self, reference: Reference, access: Access) -> Plan:
        if access.settings.hf_hub_offline:
            cached = _plan_from_cache(reference, access.settings.hub_cache)
            if cached is None:
                raise Unreachable(f"{reference} is not in the cache and HF_HUB_OFFLINE is set.", hint="Unset HF_HUB_OFFLINE.")
            return cached
        try:
            return _plan_from_hub(reference, access)
        except Unreachable:
            cached = _plan_from_cache(reference, access.settings.hub_cache)
            if cached is None:
                raise
            return cached


def _plan_from_hub(reference: Reference, access: Access) -> Plan:
    endpoint = access.settings.hf_endpoint.rstrip("/")
    token = access.settings.hf_token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    revision = quote(reference.revision or "main", safe="")
    info = access.fetcher.get_json(f"{endpoint}/api/models/{reference.place}/revision/{revision}?blobs=true", headers=headers)
    repo, commit, siblings = _read_listing(info, reference)
    choice = choose_files(list(siblings), want=reference.path)
    snapshot = _repo_folder(access.settings.hub_cache, repo) / "snapshots" / commit
    files = [
        _remote_file(f"{endpoint}/{repo}/resolve/{commit}/{quote(name)}", name, siblings[name], snapshot) for name in choice.files
    ]
    pinned = Reference(scheme="hf", place=repo, revision=commit, path=reference.path)
    return Plan(source=str(pinned), files=tuple(files), licence=_licence(info), headers=headers, skipped=choice.skipped)


def _read_listing(info: Any, reference: Reference) -> tuple[str, str, dict[str, dict[str, Any]]]:
    """Repository (its present name), commit and file records by name. Raises SourceError when the answer has another shape."""
    try:
        siblings = {relative_path(str(item["rfilename"])): item for item in info["siblings"]}
        return str(info.get("id") or info.get("modelId") or reference.place), str(info["sha"]), siblings
    except (KeyError, TypeError, AttributeError) as problem:
        raise SourceError(
            f"The hub's answer about {reference} is not a model listing ({problem!r}).", hint="Check HF_ENDPOINT."
        ) from None


def _remote_file(url: str, name: str, item: dict[str, Any], snapshot: Path) -> RemoteFile:
    large = item.get("lfs") or {}
    size = int(large.get("size") or item.get("size") or 0)
    sha256 = str(large.get("sha256") or "")
    cached = snapshot / name
    if cached.is_file() and (not size or cached.stat().st_size == size):
        return RemoteFile(path=name, sha256=sha256, size_bytes=size, local=cached, in_place=bool(sha256))
    return RemoteFile(path=name, sha256=sha256, size_bytes=size, pieces=(Piece(url=url, sha256=sha256, size_bytes=size),))


def _licence(info: dict[str, Any]) -> str:
    stated = (info.get("cardData") or {}).get("license")
    tagged = [tag.removeprefix("license:") for tag in info.get("tags") or () if str(tag).startswith("license:")]
    first = stated[0] if isinstance(stated, list) and stated else stated
    return str(first or (tagged[0] if tagged else ""))


def _repo_folder(cache: Path, repo: str) -> Path:
    return cache / f"models--{repo.replace('/', '--')}"


def _plan_from_cache(reference: Reference, cache: Path) -> Plan | None:
    """The snapshot that refs/<revision> or the commit names, when it holds a whole model."""
    folder = _repo_folder(cache, reference.place)
    revision = reference.revision or "main"
    pointer = folder / "refs" / revision
    commit = pointer.read_text(encoding="ascii").strip() if pointer.is_file() else revision
    snapshot = folder / "snapshots" / commit
    if not snapshot.is_dir():
        return None
    names = sorted(str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file())
    try:
        choice = choose_files(names, want=reference.path)
    except (NotFound, SourceError):
        return None
    files = tuple(_cached_file(snapshot, name) for name in choice.files)
    pinned = Reference(scheme="hf", place=reference.place, revision=commit, path=reference.path)
    return Plan(source=str(pinned), files=files, skipped=choice.skipped)


def _cached_file(snapshot: Path, name: str) -> RemoteFile:
    """Large files lie in the cache under their SHA-256 (64 digits), small ones under their git hash (40)."""
    path = snapshot / name
    blob = path.resolve().name
    sha256 = blob if len(blob) == 64 else ""
    return RemoteFile(path=name, sha256=sha256, size_bytes=path.stat().st_size, local=path, in_place=bool(sha256))

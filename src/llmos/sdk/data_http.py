"""Data sets of a server, through its documented routes. Recipes are jobs there; it reads no files of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from llmos.errors import UnsupportedFeature
from llmos.infra.files import storage_errors
from llmos.sdk.base import JobCalls
from llmos.sdk.data_base import DataCalls, Plain, Plains
from llmos.sdk.jobs import Jobs

if TYPE_CHECKING:
    from llmos.data.recipe import Recipe
    from llmos.data.run import Control

BASE = "/api/v1/datasets"


class HTTPData(DataCalls):
    """call: the transport's (method, path, body, params=) -> JSON. stream: (path, params) -> bytes as they come."""

    def __init__(
        self, call: Callable[..., Any], stream: Callable[[str, Mapping[str, Any]], Iterator[bytes]], jobs: JobCalls
    ) -> None:
        self._call, self._stream, self._jobs = call, stream, jobs

    def run(self, recipe: Recipe, *, control: Control | None, share: tuple[int, int] | None) -> Plain:
        if share is not None:
            raise UnsupportedFeature("Shares of a recipe are for job arrays, not for a server.", param="part")
        job = Jobs(self._jobs).submit("data", self.job_params(recipe))
        return self.show(job.wait()["dataset"])

    def job_params(self, recipe: Recipe) -> Plain:
        return {"recipe": recipe.model_dump(mode="json", exclude_defaults=True)}

    def preview(self, recipe: Recipe) -> Plain:
        return self._plain("POST", "/api/v1/recipes/check", self.job_params(recipe))

    def list(self, name: str | None) -> Plains:
        return list(self._call("GET", BASE, params={"name": name} if name else None)["datasets"])

    def show(self, ref: str) -> Plain:
        return self._plain("GET", _at(ref))

    def rows(self, ref: str, *, offset: int, limit: int, where: str) -> Plain:
        return self._plain("GET", f"{_at(ref)}/rows", params={"offset": offset, "limit": limit, "where": where})

    def ledger(self, ref: str, wanted: Mapping[str, str], *, offset: int, limit: int) -> Plain:
        return self._plain("GET", f"{_at(ref)}/ledger", params={**wanted, "offset": offset, "limit": limit})

    def report(self, ref: str) -> Plain:
        return self._plain("GET", f"{_at(ref)}/report")

    def statistics(self, ref: str) -> Plain:
        return self._plain("GET", f"{_at(ref)}/statistics")

    def page(self, ref: str) -> str:
        return b"".join(self._stream(f"{_at(ref)}/report.html", {})).decode()

    def why(self, row: str, ref: str | None, *, replay: bool) -> Plain:
        wanted = {"row": row, "replay": str(replay).lower()} | ({"dataset": ref} if ref else {})
        return self._plain("GET", "/api/v1/data-why", params=wanted)

    def diff(self, first: str, second: str, *, examples: int) -> Plain:
        return self._plain("GET", f"{_at(first)}/diff", params={"with": second, "examples": examples})

    def lineage(self, ref: str) -> Plain:
        return self._plain("GET", f"{_at(ref)}/lineage")

    def verify(self, ref: str) -> Plain:
        return self._plain("POST", f"{_at(ref)}/verify", {})

    def remove(self, ref: str) -> Plain:
        return self._plain("DELETE", _at(ref))

    def jsonl(self, ref: str, *, ids: bool) -> Iterator[bytes]:
        return self._stream(f"{_at(ref)}/rows.jsonl", {"ids": str(ids).lower()})

    def export(self, ref: str, path: str, *, format: str, ids: bool) -> Plain:
        """Written by the server, fetched from it as a file, which it then forgets."""
        if path.startswith("s3://") or path.endswith("/"):
            raise UnsupportedFeature("A server's data set is exported to one file here.", param="path")
        made = self._plain("POST", f"{_at(ref)}/export", {"filename": Path(path).name, "format": format, "ids": ids})
        target = Path(path).expanduser()
        partial = target.with_name(f".{target.name}.part")
        try:
            with storage_errors(target), partial.open("wb") as out:
                out.writelines(self._stream(f"/v1/files/{made['file_id']}/content", {}))
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
            self._call("DELETE", f"/v1/files/{made['file_id']}")
        return {name: value for name, value in made.items() if name != "file_id"} | {"path": str(path)}

    def scan(self, ref: str) -> NoReturn:
        raise UnsupportedFeature("A server's data set cannot be scanned from here.", hint="Export it, or read its rows.")

    def steps(self, name: str | None) -> Plains:
        return list(self._call("GET", "/api/v1/data-steps", params={"name": name} if name else None)["steps"])

    def _plain(self, method: str, path: str, body: Plain | None = None, *, params: Mapping[str, Any] | None = None) -> Plain:
        return dict(self._call(method, path, body, params=params))


def _at(ref: str) -> str:
    return f"{BASE}/{quote(ref, safe='@')}"

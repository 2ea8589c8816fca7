"""A model file or folder on this machine, copied into the library so that later changes to the original do no harm."""

from __future__ import annotations

from pathlib import Path

from llmos.errors import NotFound
from llmos.library.names import Reference
from llmos.library.sources.base import Access, Plan, RemoteFile, Source, sources
from llmos.library.sources.select import choose_files


@sources.register("file")
class FileSource(Source):
    where = "this disk"

    def plan(self, reference: Reference, access: Access) -> Plan:
        path = Path(reference.place).expanduser().absolute()
        if path.is_dir():
            names = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
            choice = choose_files(names)
            return Plan(source=f"file:{path}", files=tuple(_local(path, name) for name in choice.files), skipped=choice.skipped)
        if path.is_file():
            choice = choose_files([path.name, *_parts_beside(path)], want=path.name)
            return Plan(source=f"file:{path}", files=tuple(_local(path.parent, name) for name in choice.files))
        raise NotFound(f"There is no file or folder {path}.", param="path")


def _parts_beside(path: Path) -> list[str]:
    return [other.name for other in path.parent.glob("*.gguf") if other.name != path.name]


def _local(folder: Path, name: str) -> RemoteFile:
    return RemoteFile(path=name, size_bytes=(folder / name).stat().st_size, local=folder / name)

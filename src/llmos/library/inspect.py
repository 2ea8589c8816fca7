"""What lies at a path, and may it be used? Identified by content, in a child process with limits (promises P11, P19).

    inspection = inspect_model(Path("~/models/smollm2").expanduser())
    inspection.family, inspection.context_length, inspection.files

A model file is read by nothing else before it went through here: the formats refuse pickles in any disguise, code that comes
with a model, files with something hidden before, behind or between their parts, and truncated ones.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from llmos.errors import ChildCrashed, CorruptFile, InvalidValue, LimitExceeded, ModelFileError, NotFound, UnsafeFile
from llmos.infra.sandbox import call_limited
from llmos.library.formats import content
from llmos.library.formats.base import FileFormat, Inspection, formats

__all__ = ["Inspection", "inspect_model"]

MEMORY_BYTES = 512 << 20
MAX_FILES = 2_000
MAX_DEPTH = 3


def inspect_model(path: Path | str) -> Inspection:
    """What the file or folder holds. 2 s of CPU, 1 s more for each GB; 512 MiB of memory.

    Raises NotFound; UnsafeFile for pickles, code, programs, polyglots; CorruptFile for what is truncated or contradicts
    itself; ModelFileError for a sound file that no engine could use; InvalidValue when a folder holds several models.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - links stay: in the Hugging Face cache only the link has the file's name
    if not path.exists():
        raise NotFound(f"There is nothing at {path}.", param="path")
    argument = {"path": str(path), "modules": sorted({type(known).__module__ for _, known in formats})}
    cpu_s = 2.0 + _size_bytes(path) / 1e9
    try:
        told = call_limited(
            "llmos.library.inspect:inspect_here", argument, memory_bytes=MEMORY_BYTES, cpu_s=cpu_s, wall_s=10.0 + 2 * cpu_s
        )
    except LimitExceeded as problem:
        raise CorruptFile(f"{path.name} could not be read within the limits for model files: {problem.message}") from problem
    except ChildCrashed as problem:
        raise CorruptFile(f"{path.name} made the reader of model files fail: {problem.message}") from problem
    return Inspection.from_json(told)


def inspect_here(argument: dict[str, Any]) -> dict[str, Any]:
    """The part that runs in the child. `modules` are those that registered formats, plugins' included."""
    for module in argument["modules"]:
        importlib.import_module(module)
    path = Path(argument["path"])
    found = _inspect_folder(path) if path.is_dir() else _inspect_file(path)
    return found.to_json()


def _inspect_file(path: Path) -> Inspection:
    head = content.check(path)
    for known in _by_precedence():
        if known.sniff(head, path):
            above = known.nested and not (path.parent / "config.json").exists() and (path.parent.parent / "config.json").exists()
            return known.inspect(path, path.parent.parent if above else path.parent)
    raise _unknown(path, f"it starts with {head[:8]!r}")


def _inspect_folder(folder: Path) -> Inspection:
    files = _files(folder)
    found = next((found for depth in (1, 2) if (found := _main(folder, files, depth))), None)
    if found is None:
        raise _nothing(folder, files)
    known, main = found
    inspection = known.inspect(main, folder)
    used = set(inspection.files)
    ignored = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        if name not in used:
            ignored.append((name, content.reason_to_ignore(path)))
    told = inspection.to_json() | {"ignored": ignored}
    return Inspection.from_json(told)


def _main(folder: Path, files: list[Path], depth: int) -> tuple[FileFormat, Path] | None:
    """The model's main file among those that lie `depth` deep, and the format it has."""
    heads = [(path, _head(path)) for path in files if len(path.relative_to(folder).parts) == depth]
    for known in _by_precedence():
        candidates = [path for path, head in heads if known.sniff(head, path)]
        if candidates:
            return known, known.choose(candidates)
    return None


def _head(path: Path) -> bytes:
    return content.read_ends(path)[0]


def _files(folder: Path) -> list[Path]:
    """All files up to MAX_DEPTH deep, hidden ones left out (.git, .cache of the hub's own tool), in order of their names."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < MAX_DEPTH - 1 else []
        found += [Path(place) / name for name in names if not name.startswith(".")]
        if len(found) > MAX_FILES:
            raise InvalidValue(f"{folder} holds more than {MAX_FILES} files.", param="path", hint="Give the folder of one model.")
    return sorted(found)


def _size_bytes(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in _files(path) if file.is_file())


def _by_precedence() -> list[FileFormat]:
    return sorted((known for _, known in formats), key=lambda known: known.precedence)


def _unknown(path: Path, why: str) -> ModelFileError:
    return UnsafeFile(
        f"{path.name} is in no known model format: {why}.", param="path", hint=f"Known: {', '.join(formats.names())}."
    )


def _nothing(folder: Path, files: list[Path]) -> ModelFileError:
    """A folder without a model: say what is dangerous in it, else that nothing is there."""
    for path in files:
        head, tail = content.read_ends(path)
        if what := content.danger(head, tail):
            hint = "Use the safetensors or GGUF version of this model; LLMOS never opens pickles and archives as models."
            return UnsafeFile(f"{folder.name} holds no model in a safe format; {path.name} is {what}.", param="path", hint=hint)
    return _unknown(folder, f"none of its {len(files)} files is a model's main file")

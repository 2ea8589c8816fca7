"""Which files a path means: one file, a glob, a folder, or a folder in the layout of Hugging Face datasets.

That layout is recognised by what it always has: the state files of `save_to_disk`, a card (README.md) that lists data files, or names such
as `train-00000-of-00002.parquet`. Of such a folder only the data files are rows, and where it holds several splits the one that is meant
must be said: training on a test split by accident is no default.

Layouts as in the documentation of the library, https://huggingface.co/docs/datasets/repository_structure and `Dataset.save_to_disk`.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llmos.errors import InvalidValue, NotFound

MAX_CARD_BYTES = 8 << 20
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_WORD = re.compile(r"[A-Za-z]+")
_NO_DATA = (
    "readme.md",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "license",
    "license.txt",
    "license.md",
)


def local_files(text: str, split: str = "") -> Iterator[tuple[Path, str]]:
    """(path, label) of a path, a folder (all files below it, hidden ones aside) or a glob; labels are relative to its fixed part.
    Raises NotFound, and InvalidValue when a split must be said or is not there."""
    path = Path(text).expanduser()
    if path.is_file():
        yield path.absolute(), path.name
        return
    root = path
    if path.is_dir():
        files = [one for one in sorted(path.rglob("*")) if one.is_file() and not _hidden(one.relative_to(path))]
        files = _of_split(path, files, split)
    else:
        files = [Path(one) for one in sorted(glob.glob(str(path), recursive=True)) if Path(one).is_file()]  # noqa: PTH207 - the pattern may be absolute
        fixed = [part for part in path.parts if not glob.has_magic(part)]
        root = Path(*fixed) if fixed and len(fixed) < len(path.parts) else path.parent
    if not files:
        raise NotFound(f"There is no file {text}.", param="path", hint="A path, a folder or a glob (data/*.jsonl) is wanted.")
    for one in files:
        yield one.absolute(), str(one.relative_to(root) if one.is_relative_to(root) else one.name)


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _of_split(root: Path, files: list[Path], split: str) -> list[Path]:
    """The files of that split where the folder has the layout; all of them where it has not."""
    splits = _saved(root) or _listed(root) or _named(root, files)
    if not splits:
        if split:
            raise InvalidValue(
                f"{root} has no splits.", param="split", hint="It is not in the Hugging Face layout; leave split out."
            )
        return files
    if split == "all" or (not split and len(splits) == 1):
        return [one for each in splits.values() for one in each]
    if split not in splits:
        what = f"{root} has no split {split!r}" if split else f"{root} has several splits"
        raise InvalidValue(f"{what}.", param="split", hint=f"Say one of them: split: {' | '.join([*splits, 'all'])}.")
    return splits[split]


def _saved(root: Path) -> dict[str, list[Path]]:
    """What `save_to_disk` wrote: one folder of Arrow files, or one for each split."""
    told = _json(root / "dataset_dict.json")
    if isinstance(told.get("splits"), list):
        return {str(name): _state(root / str(name)) for name in told["splits"] if (root / str(name)).is_dir()}
    files = _state(root)
    return {_split_of_info(root): files} if files else {}


def _state(folder: Path) -> list[Path]:
    listed = _json(folder / "state.json").get("_data_files")
    if not isinstance(listed, list):
        return []
    files = [folder / Path(str(one.get("filename", ""))).name for one in listed if isinstance(one, dict)]
    missing = [one for one in files if not one.is_file()]
    if missing:
        raise NotFound(f"{folder / 'state.json'} lists {missing[0].name}, which is not there.", param="path")
    return files


def _split_of_info(folder: Path) -> str:
    return str(_json(folder / "state.json").get("_split") or "train")


def _listed(root: Path) -> dict[str, list[Path]]:
    """What the card says: `configs: [{config_name: default, data_files: [{split: train, path: data/train-*}]}]`."""
    configs = card(root).get("configs")
    if not isinstance(configs, list) or not configs or not all(isinstance(one, dict) for one in configs):
        return {}
    chosen = next((one for one in configs if one.get("default") or one.get("config_name") == "default"), configs[0])
    given = chosen.get("data_files")
    if isinstance(given, str | list) and not (isinstance(given, list) and given and isinstance(given[0], dict)):
        given = [{"split": "train", "path": given}]
    found: dict[str, list[Path]] = {}
    for one in given if isinstance(given, list) else []:
        for pattern in _patterns(one, root):
            split = one.get("split", "train")
            found.setdefault(split if isinstance(split, str) else "train", []).extend(
                sorted(file for file in root.glob(pattern) if file.is_file())
            )
    return {name: files for name, files in found.items() if files}


def _patterns(listed: Any, root: Path) -> list[str]:
    """Of an entry of data_files. Raises InvalidValue for what is no path, or leads out of the folder."""
    given = listed.get("path", []) if isinstance(listed, dict) else None
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, list) or not all(isinstance(one, str) and one for one in patterns):
        raise InvalidValue(f"The data_files in the card of {root} are no paths.", param="path")
    for pattern in patterns:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise InvalidValue(f"The card of {root} lists {pattern}, which is outside of it.", param="path")
    return patterns


def _named(root: Path, files: list[Path]) -> dict[str, list[Path]]:
    """By names, where files are numbered as shards or the folder has a card: `data/train-00000-of-00002.parquet`, `test.csv`,
    `validation/…`."""
    if not (card(root) or any(_SHARD.search(one.name) for one in files)):
        return {}
    data = [one for one in files if one.name.lower() not in _NO_DATA]
    found: dict[str, list[Path]] = {}
    for one in data:
        found.setdefault(_split_in(str(one.relative_to(root))), []).append(one)
    return found


def _split_in(name: str) -> str:
    """The first word of the path that names a split; train when none does."""
    for word in _WORD.findall(name):
        for split, words in _SPLITS.items():
            if word.lower() in words:
                return split
    return "train"


def card(root: Path) -> dict[str, Any]:
    """The YAML at the beginning of README.md; {} when there is none."""
    path = root / "README.md"
    if not path.is_file() or path.stat().st_size > MAX_CARD_BYTES:
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---\n") or "\n---" not in text[4:]:
        return {}
    try:
        found = yaml.safe_load(text[4 : text.index("\n---", 3)])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > MAX_CARD_BYTES:
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

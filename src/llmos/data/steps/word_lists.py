"""Lists of words that a recipe brings: written out, or in a file, which is pinned by its hash so that a changed list is a new run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson
from pydantic import Field, model_validator

from llmos.data.steps.ranged import RatioConfig

MAX_LIST_BYTES = 16 << 20


def digest_of_file(path: str, known: str) -> str:
    """SHA-256 of a file that a step reads. Raises ValueError when it is not there, or is not the one that `known` names."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"there is no file {path}")
    with file.open("rb") as data:
        found = hashlib.file_digest(data, "sha256").hexdigest()
    if known and known != found:
        raise ValueError(f"{path} has the SHA-256 {found[:12]}… and not {known[:12]}…: it is not the file of this run")
    return found


class ListConfig(RatioConfig):
    words: tuple[str, ...] = Field((), description="The words, lower case.")
    file: str = Field("", description="A file with one word a line; JSON: an array, or an object of arrays by language.")
    language: str = Field("en", description="Which array of a JSON object, or `all`.")
    sha256: str = Field("", description="Of that file; filled in when the run is planned.")

    @model_validator(mode="after")
    def _pin(self) -> ListConfig:
        if self.file:
            object.__setattr__(self, "sha256", digest_of_file(self.file, self.sha256))
            self.read()
        return self

    def read(self) -> frozenset[str]:
        """All words given, without the built-in ones. Raises ValueError for a file that is no such list."""
        if not self.file:
            return frozenset(self.words)
        raw = Path(self.file).expanduser().read_bytes()
        if len(raw) > MAX_LIST_BYTES:
            raise ValueError(f"{self.file} has {len(raw):,} bytes; a list of words has at most {MAX_LIST_BYTES:,}")
        return frozenset(self.words) | _words(raw, self.file, self.language)


def _words(raw: bytes, name: str, language: str) -> frozenset[str]:
    if not name.endswith(".json"):
        return frozenset(line.strip() for line in raw.decode("utf-8").splitlines() if line.strip())
    found = orjson.loads(raw)
    if isinstance(found, dict):
        if language != "all" and language not in found:
            raise ValueError(f"{name} has no language {language!r}; it has {', '.join(sorted(found))}")
        wanted = found.values() if language == "all" and "all" not in found else [found[language]]
        found = [word for words in wanted for word in words]
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise ValueError(f"{name} is neither an array of words nor an object of such arrays")
    return frozenset(found)

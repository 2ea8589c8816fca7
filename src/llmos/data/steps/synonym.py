"""Words replaced by synonyms."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field, model_validator

from llmos.data.base import step
from llmos.data.synth.thesaurus import digest_of_files, synonyms
from llmos.data.synth.varied import Varied, VariedConfig
from llmos.errors import InvalidValue

_PIECE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+")
LONGEST = 8  # characters of a word in a script without spaces
# Function words of four letters and more that WordNet knows as something else; shorter words are left alone anyhow.
_SKIP = """
about above after again against also although always among around because been before being below between both cannot could does
doing down during each either else even ever every from further have having here himself herself however into itself just less
like many might more most much must neither never none once only other ours over perhaps quite rather same shall should since some
such than that their them then there these they this those though through thus together under unless until upon very well were
what when where whether which while whom whose will with within without would your yours
"""
SKIP = frozenset(_SKIP.split())


@step("synonym")
class Synonym(Varied):
    """Adds copies in which `rate` of the replaceable words are synonyms (synonym replacement of EDA, Wei & Zou 2019). Replaceable is what
    the dictionary has in the very form of the text; function words and words shorter than min_chars are left alone. In scripts without
    spaces the longest word of the dictionary counts at each place."""

    disk = ("dictionary",)

    class Config(VariedConfig):
        dictionary: str = Field(min_length=1, description="A file `word<TAB>synonym, synonym`, or a folder of WordNet's files.")
        sha256: str = Field(
            "", description="Of the dictionary, checked when given and kept with the result; of a folder, joined by +."
        )
        min_chars: int = Field(4, ge=1, description="Shorter words are left alone, but not in scripts without spaces.")

        @model_validator(mode="before")
        @classmethod
        def _hashed(cls, given: Any) -> Any:
            """A dictionary that changes is another step."""
            if not isinstance(given, dict) or not isinstance(given.get("dictionary"), str):
                return given
            found = digest_of_files(given["dictionary"])
            if given.get("sha256") not in (None, "", found):
                raise InvalidValue(f"{given['dictionary']} has the SHA-256 {found}, not {given['sha256']}.", param="sha256")
            return {**given, "sha256": found}

    config: Config
    refusal = "None of its words is in the dictionary."

    def prepare(self) -> None:
        self.known = synonyms(self.config.dictionary, self.config.sha256)

    def vary(self, text: str, draw: random.Random) -> str:
        spans = list(self._replaceable(text))
        out, done = [], 0
        for place in self.changes(len(spans), draw):
            start, end = spans[place]
            new = draw.choice(self.known[text[start:end].casefold()])
            out += [text[done:start], new[:1].upper() + new[1:] if text[start].isupper() else new]
            done = end
        return "".join([*out, text[done:]])

    def _replaceable(self, text: str) -> Iterator[tuple[int, int]]:
        for found in _PIECE.finditer(text):
            start, end = found.span()
            if found[0][0] < "\u3040" or found[0][0] > "\u9fff":
                word = found[0].casefold()
                if end - start >= self.config.min_chars and word not in SKIP and word in self.known:
                    yield start, end
                continue
            while start < end:
                size = next(
                    (size for size in range(min(LONGEST, end - start), 0, -1) if text[start : start + size] in self.known), 0
                )
                if size:
                    yield start, start + size
                start += size or 1

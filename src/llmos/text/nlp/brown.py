"""Reads the tagged Brown corpus (Francis and Kucera 1964, 1979) as the English tagger needs it.

The corpus writes a word with its tag as word/tag, a sentence a line. What changes here, so that words and tags are those of the rules in
cutting.py: contractions and possessives come apart with their tags (didn't/dod* -> did/dod n't/*), marks that the corpus holds
twice (?/. ?/.) become one, marks for headline, title, citation and foreign word leave the tag (np-tl -> np, fw-* -> fw).
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from llmos.errors import CorruptFile

Tagged = list[tuple[str, str]]
_FILE = re.compile(r"package/(c[a-r]\d\d)")
_NOT = re.compile(r"(?i)^(.+)(n['’]t)$")
_APART = re.compile(r"(?i)^(.+?)(['’](?:s|re|ve|ll|d|m)?)$")


def paragraphs(archive: Path) -> Iterator[tuple[str, list[Tagged]]]:
    """(file, sentences) of every paragraph, in order. Raises CorruptFile."""
    try:
        with tarfile.open(archive) as opened:
            files = {found[1]: member for member in opened if member.isfile() and (found := _FILE.fullmatch(member.name))}
            for name, member in sorted(files.items()):
                reader = opened.extractfile(member)
                assert reader is not None
                for paragraph in re.split(r"\n(?=\t)", reader.read().decode("latin-1")):
                    sentences = [sentence for line in paragraph.splitlines() if (sentence := _sentence(line))]
                    if sentences:
                        yield name, sentences
    except (tarfile.TarError, EOFError, OSError) as problem:
        raise CorruptFile(f"{archive} cannot be read: {problem}.") from None


def _sentence(line: str) -> Tagged:
    words: Tagged = []
    for entry in line.split():
        word, _, tag = entry.rpartition("/")
        if not word:
            continue
        parts = apart(word, tag.lower())
        if words and parts == [words[-1]] and parts[0][0] in "?!;:.,":
            continue
        words += parts
    return words


def apart(word: str, tag: str) -> Tagged:
    """The words that the tagger knows for one entry of the corpus."""
    if tag.startswith("fw-"):
        return [(word, "fw")]
    tag = re.sub(r"(?:-(?:hl|tl|nc))+$", "", tag)
    small = word.lower()
    if small == "cannot":
        return [(word[:3], "md"), (word[3:], "*")]
    if tag.endswith("*") and tag != "*":
        cut = _NOT.match(word)
        return [(cut[1], _first(tag[:-1])), (cut[2], "*")] if cut else [(word, _first(tag[:-1]))]
    cut = _APART.match(word)
    if "+" in tag and cut:
        first, _, second = tag.partition("+")
        return [(cut[1], _first(first)), (cut[2], _first(second))]
    if tag.endswith("$") and tag not in ("pp$", "pp$$", "wp$") and cut and cut[1]:
        return [(cut[1], _first(tag[:-1])), (cut[2], "$")]
    return [(word, _first(tag))]


def _first(tag: str) -> str:
    """One tag for words that hold two without a mark between them (gonna/vbg+to)."""
    return tag.partition("+")[0].rstrip("*") or tag

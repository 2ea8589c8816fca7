"""Documents, mails, archives of the web, tagged sentences, translations: real forms of each, and damaged ones."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import docx
import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from llmos.errors import InvalidValue
from tests.data.readers.reading import Reading, read

MENU = "<nav><ul><li>Home</li><li>Contact</li></ul></nav>"
BODY = "".join(
    f"<p>Paragraph {n} tells at some length what a reader of this page would want to know about the subject.</p>" for n in range(6)
)
HEAD = "<head><title> A &amp; B </title><script>x()</script></head>"
PAGE = f"<!doctype html><html>{HEAD}<body>{MENU}<article>{BODY}</article></body></html>"


def test_html(tmp_path: Path) -> None:
    text = read(tmp_path, "a.html", PAGE, html="text").rows[0]
    assert text["text"].split("\n")[:3] == [
        "Home",
        "Contact",
        "Paragraph 0 tells at some length what a reader of this page would want to know about the subject.",
    ]
    assert (text["title"], text["path"]) == ("A & B", "a.html")
    main = read(tmp_path, "nameless", PAGE)
    assert (main.format, main.rows[0]["title"]) == ("html", "A & B")
    assert "Contact" not in main.rows[0]["text"]
    assert main.rows[0]["text"].count("Paragraph") == 6
    assert read(tmp_path, "a.html", PAGE, html="raw").rows[0]["text"] == PAGE


def test_html_charsets(tmp_path: Path) -> None:
    page = '<html><head><meta charset="{}"></head><body><p>{}</p></body></html>'
    for name, text in (("gb2312", "中文网页"), ("iso-8859-1", "Café – “x”"), ("utf-8", "é")):
        data = page.format(name, text).encode("cp1252" if name == "iso-8859-1" else name)
        assert read(tmp_path, "a.html", data, html="text").rows[0]["text"] == text


def test_a_page_without_text_is_told(tmp_path: Path) -> None:
    assert "no text" in read(tmp_path, "a.html", "<html><body></body></html>").failure


def test_markdown(tmp_path: Path) -> None:
    source = "---\ntags: [x]\ntitle: 'In front'\n---\n\n# Heading\n\nSome *text* with `code`.\n\n- one\n- two\n"
    assert read(tmp_path, "a.md", source).rows == [{"text": source, "title": "In front", "path": "a.md"}]
    shown = read(tmp_path, "a.md", "# Heading #\n\nSome *text*.\n\n- one\n- two\n", markdown="text").rows[0]
    assert (shown["title"], shown["text"]) == ("Heading", "Heading\nSome text.\none\ntwo")


def pdf(*pages: str) -> bytes:
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})})
    writer.add_metadata({"/Title": "A title"})
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_pdf(tmp_path: Path) -> None:
    data = pdf("First page", "Second page")
    found = read(tmp_path, "nameless", data)
    assert (found.format, found.rows) == (
        "pdf", [{"text": "First page\n\nSecond page", "title": "A title", "path": "nameless", "num_pages": 2}],
    )  # fmt: skip
    assert read(tmp_path, "a.pdf", data[:200]).failure
    assert "scan" in read(tmp_path, "a.pdf", pdf("")).failure


def word(text: str) -> bytes:
    made = docx.Document()
    made.core_properties.title = "A title"
    made.add_paragraph(text)
    table = made.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "a", "b"
    made.add_paragraph("after")
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def test_word(tmp_path: Path) -> None:
    data = word("before")
    assert read(tmp_path, "a.docx", data).rows == [{"text": "before\na\tb\nafter", "title": "A title", "path": "a.docx"}]
    assert "no sound Word file" in read(tmp_path, "a.docx", data[:-300]).failure


def repacked(data: bytes, xml: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, xml if entry.filename == "word/document.xml" else old.read(entry))
    return out.getvalue()


def test_bombs_in_word_files(tmp_path: Path) -> None:
    assert "expands to" in read(tmp_path, "a.docx", repacked(word("x"), b" " * (200 << 20))).failure
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    text = "<w:p><w:r><w:t>&l11;</w:t></w:r></w:p>"
    xml = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]><w:document {space}><w:body>{text}</w:body></w:document>'
    found = read(tmp_path, "a.docx", repacked(word("x"), xml.encode()))
    assert found.failure or len(found.rows[0]["text"]) < 1000


# -- mail --------------------------------------------------------------------------------------------------------------
MAIL = b"""Return-Path: <a@example.org>
Received: from x by y; Mon, 1 Jan 2024 00:00:00 +0000
From: =?utf-8?q?Andr=C3=A9?= <a@example.org>
To: b@example.org,
 c@example.org
Subject: =?gb2312?B?1tDOxA==?= test
Date: Mon, 1 Jan 2024 00:00:00 +0000
Message-ID: <1@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=xx

--xx
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9 one
--xx
Content-Type: text/html

<p>other form</p>
--xx
Content-Type: application/pdf; name=a.pdf
Content-Disposition: attachment; filename="a.pdf"

xyz
--xx--
"""


def test_mail(tmp_path: Path) -> None:
    found = read(tmp_path, "0001.7c53336b37003a9286aba55d2945844c", MAIL)
    row = found.rows[0]
    assert (found.format, row["subject"], row["from"], row["to"]) == (
        "mail", "中文 test", "André <a@example.org>", "b@example.org, c@example.org",
    )  # fmt: skip
    assert (row["text"], row["charset"], row["attachments"]) == ("café one", "iso-8859-1", ["a.pdf"])
    assert row["headers"].startswith("Return-Path")


def test_mail_in_html_and_with_a_wrong_charset(tmp_path: Path) -> None:
    head = b"From: a@b.c\nTo: d@e.f\nSubject: s\nContent-Type: text/%s; charset=%s\n\n"
    html = read(tmp_path, "a.eml", head % (b"html", b"us-ascii") + b"<html><body><p>one</p><p>two \xe9</p></body></html>").rows[0]
    assert (html["text"], html["charset"]) == ("one\ntwo é", "cp1252")
    assert read(tmp_path, "a.eml", head % (b"plain", b"no-such") + b"x").rows[0]["charset"] == "utf-8"


def test_mbox(tmp_path: Path) -> None:
    first = b"From a@b.c Mon Jan  1 00:00:00 2024\nSubject: one\n\ntext\n>From here\n\n"
    second = b"From a@b.c Tue Jan  2 00:00:00 2024\nSubject: two\n\nFrom inside a paragraph 2024\n"
    found = read(tmp_path, "a.mbox", first + second)
    assert [(number, row["subject"]) for number, row in zip(found.numbers, found.rows, strict=True)] == [(1, "one"), (7, "two")]
    assert found.rows[0]["text"] == "text\nFrom here\n\n"


# -- WARC --------------------------------------------------------------------------------------------------------------
def record(kind: str, body: bytes, uri: str = "http://example.org/") -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Target-URI: {uri}\r\n"
    typed = "application/http; msgtype=response" if kind == "response" else "text/plain"
    return f"{head}Content-Type: {typed}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n\r\n"


def test_warc_and_wet(tmp_path: Path) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + PAGE.encode()
    moved = b"HTTP/1.1 301 Moved\r\nContent-Type: text/html\r\nLocation: /x\r\n\r\n<html>moved</html>"
    records = [record("request", b"x"), record("response", moved), record("response", page), record("conversion", "naïve".encode())]
    data = b"".join(map(gzip.compress, records))
    found = read(tmp_path, "a.warc.gz", data)
    assert (found.numbers, found.rows[1]["text"], found.rows[0]["title"]) == ([3, 4], "naïve", "A & B")
    assert found.rows[0]["url"] == "http://example.org/"
    cut = read(tmp_path, "a.warc.gz", data[:-10])
    assert "damaged" in cut.failure
    assert read(tmp_path, "a.warc.wet", record("conversion", b"\xff")).told == {
        1: "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    }


# -- tagged sentences --------------------------------------------------------------------------------------------------
def test_conll_2003(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\nbad line\n\nPeter NNP I-NP I-PER\n"
    found = read(tmp_path, "a.conll", text)
    assert found.rows == [
        {"tokens": ["EU", "rejects"], "pos": ["NNP", "VBZ"], "chunks": ["I-NP", "I-VP"], "tags": ["I-ORG", "O"]},
        {"tokens": ["Peter"], "pos": ["NNP"], "chunks": ["I-NP"], "tags": ["I-PER"]},
    ]
    assert (found.numbers, found.told) == ([3, 8], {6: "2 columns where the file begins with 4; its sentence is left out"})


def test_conllu(tmp_path: Path) -> None:
    text = (
        "# sent_id = 1\n# text = vámonos al mar\n1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n1\tvamos\tir\tVERB\t_\tMood=Imp\t0\troot\t_\t_\n"
        "2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_\n\n1\ta\tb\n\n"
    )
    found = read(tmp_path, "a.conllu", text)
    row = found.rows[0]
    assert (row["tokens"], row["tags"], row["heads"], row["text"]) == (["vamos", "nos"], ["VERB", "PRON"], [0, 1], "vámonos al mar")
    assert (row["ranges"][0].split("\t")[0], list(found.told)) == ("1-2", [7])


# -- translations ------------------------------------------------------------------------------------------------------
TMX = """<?xml version="1.0"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header/><body>
<tu tuid="7"><tuv xml:lang="en"><seg>Hello &amp; <bpt i="1"/>bye</seg></tuv><tuv xml:lang="fr"><seg>Salut</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>One</seg></tuv></tu>
<tu></tu>
</body></tmx>"""


def test_tmx(tmp_path: Path) -> None:
    found = read(tmp_path, "a.tmx", TMX)
    assert found.rows == [
        {"id": "7", "translation": {"en": "Hello & bye", "fr": "Salut"}},
        {"id": None, "translation": {"en": "One", "fr": None}},
    ]
    assert (found.numbers, found.told) == ([1, 2], {3: "there is no text, in the unit of line 6"})
    cut = read(tmp_path, "a.tmx", TMX[:-20])
    assert "no sound XML" in cut.failure
    assert len(cut.rows) == 2


@pytest.mark.parametrize(
    "entity", ['<!ENTITY a "ha">', '<!ENTITY a SYSTEM "file:///etc/passwd">', '<!ENTITY % a SYSTEM "http://127.0.0.1/x">']
)
def test_entities_are_refused(tmp_path: Path, entity: str) -> None:
    text = f"<!DOCTYPE tmx [{entity}]><tmx><body><tu><tuv xml:lang='en'><seg>&a;</seg></tuv></tu></body></tmx>"
    assert "defines the XML entity" in read(tmp_path, "a.tmx", text).failure


def test_moses(tmp_path: Path) -> None:
    (tmp_path / "c.fr").write_text("Salut\n\ntrois\n")
    found = read(tmp_path, "c.en", "Hello\ntwo\nthree\n", asked="moses")
    assert found.rows[1] == {"translation": {"en": "two", "fr": ""}}
    with pytest.raises(InvalidValue, match=r"Name the first: c\.en"):
        Reading(tmp_path / "c.fr", "moses")
    (tmp_path / "c.de").write_text("Hallo\n")
    with pytest.raises(InvalidValue, match=r"read\.languages: en-fr"):
        Reading(tmp_path / "c.en", "moses")
    assert Reading(tmp_path / "c.fr", "moses", languages="fr-en").rows[0] == {"translation": {"fr": "Salut", "en": "Hello"}}


def test_squad(tmp_path: Path) -> None:
    asked = {"id": "1", "question": "Who?", "answers": [{"text": "Me", "answer_start": 3}]}
    document = {"version": "2.0", "data": [{"title": "T", "paragraphs": [{"context": "It's Me", "qas": [asked, {"id": "2"}]}]}]}
    found = read(tmp_path, "train.json", json.dumps(document))
    assert (found.format, list(found.told)) == ("squad", [2])
    assert found.rows == [
        {
            "id": "1",
            "title": "T",
            "context": "It's Me",
            "question": "Who?",
            "answers": {"text": ["Me"], "answer_start": [3]},
            "is_impossible": None,
        }
    ]

"""HTML, Markdown, LaTeX, program headers, web pages."""

from __future__ import annotations

import pytest

from tests.data.steps.cleaning import cleaned, mapped


def test_html_becomes_text_and_text_stays() -> None:
    page = "<h1>T&eacute;st</h1><p>One<br>two &amp; <b>three</b></p><ul><li>x</li><li>y</li></ul><script>var a = 1;</script>"
    assert cleaned("strip_html", [page])[0].strip() == "Tést\nOne\ntwo & three\n\n* x\n\n* y"
    assert cleaned("strip_html", ["  a < b && c > d, AT&T "]) == ["  a < b && c > d, AT&T "]
    assert cleaned("strip_html", ["<p>a</p><p>b</p><script>c</script>"], blocks=False, scripts=True) == ["abc"]
    assert cleaned("strip_html", ["<b>not closed", "&lt;kept&gt;", ""]) == ["not closed", "<kept>", ""]


MARKDOWN = """Title
=====

## Heading two ##

Some **bold**, *thin*, ~~gone~~ and `code` with a [link](https://example.com "t") and ![image](a.png).
> quoted
- item
1. first

```python
x = a * b * c
snake_case_name = 2 * 3
```

| a | b |
|---|---|
| 1 | 2 |

---
[ref]: https://example.com
Mail <me@example.com> \\*not thin\\*
"""

PLAIN = """Title

Heading two

Some bold, thin, gone and code with a link and image.
quoted
- item
1. first

x = a * b * c
snake_case_name = 2 * 3

a | b
1 | 2

Mail me@example.com *not thin*
"""


def test_markdown_loses_its_marks() -> None:
    assert cleaned("strip_markdown", [MARKDOWN]) == [PLAIN]
    assert cleaned("strip_markdown", ["* a\n  - [x] b"], bullets=False) == ["a\n  b"]


def test_boilerplate_lines_go_and_paragraphs_stay() -> None:
    menus = "Home | News | Sport | Contact\nThe text itself.\nWe use cookies to improve.\n1,234\n12 likes\nRead more...\nSign in"
    page = f"{menus}\n© 2024 All rights reserved\n登录 注册\nRead more books, my friend."
    assert cleaned("strip_boilerplate", [page]) == ["The text itself.\nRead more books, my friend."]
    assert cleaned("strip_boilerplate", ["Home | News | Sport\n42\nEnd"], menus=False, counters=False) == [
        "Home | News | Sport\n42\nEnd"
    ]
    paragraph = "The privacy policy of the state was debated. " * 20
    assert cleaned("strip_boilerplate", [paragraph]) == [paragraph]


def test_links_go_with_what_belongs_to_them() -> None:
    text = "See https://en.wikipedia.org/wiki/A_(b)?q=1#x, (www.example.com) or example.org/path. Time 12:30, note:this."
    assert cleaned("remove_links", [text]) == ["See , () or . Time 12:30, note:this."]
    assert cleaned("remove_links", ["看https://example.com/页面。好"], repl="<URL>") == ["看<URL>。好"]
    assert cleaned("remove_links", ["a1b22"], pattern=r"(\d+)", repl=r"<\1>") == ["a<1>b<22>"]


def test_licence_headers_go() -> None:
    assert cleaned("remove_copyright", ["/* Copyright 2020 X\n * all */\nint x;", "/* what it does */\nint x;"]) == [
        "\nint x;",
        "/* what it does */\nint x;",
    ]
    assert cleaned("remove_copyright", ["# Copyright\n# X\n\nimport os\n# kept", "-- sql\nselect 1", "x # y"]) == [
        "import os\n# kept",
        "select 1",
        "x # y",
    ]


TEX = r"""% preamble
\documentclass{article} % class
\newcommand{\eps}{\varepsilon}
\def\R{\mathbb{R}}
\begin{document}
\section{One} 5\% of $\eps \in \R$, not $\epsilon$. % aside
\begin{thebibliography}{9} refs \end{thebibliography}
"""


def test_latex_is_cut_to_its_text() -> None:
    assert cleaned("remove_comments", [TEX])[0].splitlines()[0] == r"\documentclass{article} "
    assert r"5\% of" in cleaned("remove_comments", [TEX])[0] and "aside" not in cleaned("remove_comments", [TEX])[0]
    assert cleaned("remove_comments", ["a<!-- x\ny -->b"], doc_type="html") == ["ab"]
    assert r"$\varepsilon \in \mathbb{R}$, not $\epsilon$" in cleaned("expand_macros", [TEX])[0]
    assert cleaned("remove_bibliography", [TEX])[0].endswith("% aside\n")
    assert cleaned("remove_header", [TEX])[0].startswith(r"\section{One} 5\%")


def test_a_text_without_heading_is_dropped_unless_asked() -> None:
    made = mapped("remove_header", [TEX, "no heading"])
    assert made.drop is not None and list(made.drop) == [False, True] and made.reason == "headings"
    assert mapped("remove_header", ["no heading"], drop_no_head=False).drop is None


@pytest.mark.parametrize(
    ("low", "high", "left"),
    [(2, 20, "Before\nafter it\n"), (4, 20, "Before\n1 2 3\n4 5 6\nafter it\n"), (2, 2, "Before\n1 2 3\n4 5 6\nafter it\n")],
)
def test_tables_go_by_their_columns(low: int, high: int, left: str) -> None:
    assert cleaned("remove_tables", ["Before\n1 2 3\n4 5 6\nafter it\n"], min_col=low, max_col=high) == [left]


def test_macros_that_would_explode_drop_the_row() -> None:
    laughs = (
        "".join(rf"\newcommand{{\{a}}}{{{(chr(92) + b) * 10}}}" + "\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
        + r"\a "
    )
    made = mapped("expand_macros", [laughs, TEX])
    assert made.drop is not None and list(made.drop) == [True, False] and made.reason == "growth" and made.threshold == 10.0

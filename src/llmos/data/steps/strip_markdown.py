"""Markdown as plain text."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step

# In order. Marks only where CommonMark (https://spec.commonmark.org) gives them a meaning: snake_case and 2 * 3 stay.
_RULES = (
    (r"(?m)^[ ]{0,3}(?:```|~~~)[^\n]*\n?", ""),  # fences; what is between them stays
    (r"(?s)<!--.*?-->", ""),
    (r"!\[([^\]\n]*)\]\([^()\s]*(?:\([^()\s]*\))?[^()\s]*(?:\s+\"[^\"\n]*\")?\)", "$1"),  # images
    (r"\[([^\]\n]*)\]\([^()\s]*(?:\([^()\s]*\))?[^()\s]*(?:\s+\"[^\"\n]*\")?\)", "$1"),  # links
    (r"\[([^\]\n]+)\]\[[^\]\n]*\]", "$1"),
    (r"(?m)^[ ]{0,3}\[[^\]\n]+\]:[ \t]+\S+[^\n]*\n?", ""),  # link definitions
    (r"<(https?://[^>\s]+|[^@>\s]+@[^>\s]+)>", "$1"),
    (r"(?m)^[ ]{0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$", "$1"),  # headings
    (r"(?m)^[ ]{0,3}(?:=+|-{2,})[ \t]*$\n?", ""),  # underlines of headings
    (r"(?m)^[ ]{0,3}(?:(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|(?:-[ \t]*){3,})$\n?", ""),  # rules
    (r"(?m)^[ ]{0,3}(?:>[ ]?)+", ""),  # quotes
    (r"(?m)^[ \t]*\|?(?:[ \t]*:?-{3,}:?[ \t]*\|)+[ \t]*:?-*:?[ \t]*$\n?", ""),  # the line under the heads of a table
    (r"(?m)^[ \t]*\|[ \t]*(.*?)[ \t]*\|[ \t]*$", "$1"),
    (r"\*\*([^\s*](?:[^*\n]*[^\s*])?)\*\*", "$1"),
    (r"(?-u:\b)__([^\s_](?:[^_\n]*[^\s_])?)__(?-u:\b)", "$1"),
    (r"\*([^\s*](?:[^*\n]*[^\s*])?)\*", "$1"),
    (r"(?-u:\b)_([^\s_](?:[^_\n]*[^\s_])?)_(?-u:\b)", "$1"),
    (r"~~([^~\n]+)~~", "$1"),
    (r"`{1,2}([^`\n]+)`{1,2}", "$1"),
    (r"\\([\\{}\[\]()#+\-.!>|])", "$1"),
)
_ESCAPED = {"\\*": "\ufdd0", "\\_": "\ufdd1", "\\`": "\ufdd2", "\\~": "\ufdd3"}  # noncharacters stand for them until the end
_BULLET = (r"(?m)^([ \t]*)[*+-][ \t]+(?:\[[ xX]\][ \t]+)?", "$1")


@step("strip_markdown")
class StripMarkdown(Mapper):
    """Headings, emphasis, links, images, quotes, fences, rules, tables and escapes lose their marks; the words stay, code too."""

    class Config(TextConfig):
        bullets: bool = Field(True, description="Keep the marks of lists.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column).str.replace_many(_ESCAPED)
        for pattern, repl in (*_RULES, *(() if self.config.bullets else (_BULLET,))):
            texts = texts.str.replace_all(pattern, repl)
        return Mapped(columns={self.column: texts.str.replace_many({stand_in: mark[1] for mark, stand_in in _ESCAPED.items()})})

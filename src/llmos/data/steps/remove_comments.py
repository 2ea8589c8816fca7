"""Comments of LaTeX and of markup."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("remove_comments")
class RemoveComments(Mapper):
    """tex: `%` to the end of the line, not `\\%`; html: `<!-- -->`. Data-Juicer: remove_comments_mapper (tex), which also deletes the
    character before an inline comment; here it stays."""

    class Config(TextConfig):
        doc_type: Literal["tex", "html"] = Field("tex", description="Language of the text.")
        inline: bool = Field(True, description="Delete comments after text on the line (tex).")
        multiline: bool = Field(True, description="Delete lines that are a comment (tex), comments over lines (html).")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        if self.config.doc_type == "html":
            span = r"(?s)<!--.*?-->" if self.config.multiline else r"<!--.*?-->"
            return Mapped(columns={self.column: texts.str.replace_all(span, "")})
        if self.config.inline:
            texts = texts.str.replace_all(r"(?m)([^\\\n])%.+$", "$1")
        if self.config.multiline:
            texts = texts.str.replace_all(r"(?m)^%.*\n?", "")
        return Mapped(columns={self.column: texts})

"""What stands before the text of a paper in LaTeX."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step

_HEADS = r"\\(?:chapter|part|section|subsection|subsubsection|paragraph|subparagraph)\b\*?(?:\[[^\]]*\])?\{"


@step("remove_header")
class RemoveHeader(Mapper):
    """Deletes everything before the first heading (\\chapter … \\subparagraph). A text without one is dropped, or kept as it is when
    `drop_no_head` is off. Data-Juicer: remove_header_mapper, which leaves an empty text where a row is dropped here."""

    class Config(TextConfig):
        drop_no_head: bool = Field(True, description="Drop rows whose text has no heading.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        columns = {self.column: texts.str.replace(rf"(?s)\A.*?({_HEADS})", "$1")}
        if not self.config.drop_no_head:
            return Mapped(columns=columns)
        return Mapped(columns=columns, drop=~texts.str.contains(_HEADS), reason="headings", drop_value=0.0, threshold=1.0)

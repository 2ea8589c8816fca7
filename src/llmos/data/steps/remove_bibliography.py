"""What stands behind the text of a paper in LaTeX."""

from __future__ import annotations

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step

_END = r"(?s)(?:\\appendix|\\begin\{(?:references|REFERENCES|thebibliography)\}|\\bibliography\{.*\}).*$"


@step("remove_bibliography")
class RemoveBibliography(Mapper):
    """Deletes everything from the first \\appendix, \\begin{references}, \\begin{thebibliography} or \\bibliography{…} on, as
    RedPajama's arXiv data (https://github.com/togethercomputer/RedPajama-Data). Data-Juicer: remove_bibliography_mapper."""

    config: TextConfig
    Config = TextConfig

    def map(self, rows: Rows) -> Mapped:
        return Mapped(columns={self.column: rows.text(self.column).str.replace(_END, "")})

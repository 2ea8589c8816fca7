"""Addresses of the web out of a text."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step
from llmos.data.steps.replace_content import checked, rust_replacement

# scheme:// of RFC 3986, mailto:, magnet:, bare www. and host/path; a full stop or a bracket at the end belongs to the sentence.
LINKS = (
    r"(?i)(?-u:\b)(?:[a-z][a-z0-9+.-]*://|mailto:|magnet:\?|www\d{0,3}\.|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.[a-z]{2,4}/)"
    r"(?:[^\s()<>\"“”，。；：、）】》]|\([^\s()<>]*\))*(?:[^\s`!()\[\]{};:'\".,<>?«»“”‘’，。；：、！？）】》]|\([^\s()<>]*\))"
)


@step("remove_links")
class RemoveLinks(Mapper):
    """Deletes links, or puts `repl` in their place. Data-Juicer's clean_links_mapper has a wider default, which also takes "note:this"
    and "12:30" for links; give its `pattern` to have the same."""

    class Config(TextConfig):
        pattern: str = Field(LINKS, description="What a link is: a regular expression of Rust's engine.")
        repl: str = Field("", description="What stands for a link; groups as \\1.")

    config: Config

    def prepare(self) -> None:
        self._pattern = checked(self.config.pattern, "pattern")
        self._repl = rust_replacement(self.config.repl)

    def map(self, rows: Rows) -> Mapped:
        return Mapped(columns={self.column: rows.text(self.column).str.replace_all(self._pattern, self._repl)})

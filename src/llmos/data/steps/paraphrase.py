"""The same in other words, by a model of the library."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import step
from llmos.data.synth.rewriting import Rewriting, RewritingConfig
from llmos.errors import InvalidValue

PROMPT = (
    "Rewrite the following text in other words. Keep its meaning, its language and about its length. "
    "Reply with the rewritten text only.\n\n{text}"
)


@step("paraphrase")
class Paraphrase(Rewriting):
    """Adds rows that say what the text says in other words. An answer that is nearly the text, or nearly another answer to it, is refused
    (shared character trigrams over `max_likeness`)."""

    class Config(RewritingConfig):
        prompt: str = Field(PROMPT, description="What the model is asked, with {text} in it.")

    config: Config

    def prepare(self) -> None:
        super().prepare()
        if "{text}" not in self.config.prompt:
            raise InvalidValue("The prompt has no {text}.", param="prompt")

    def prompt(self, row: str, nth: int, text: str) -> str:
        return self.config.prompt.replace("{text}", text)

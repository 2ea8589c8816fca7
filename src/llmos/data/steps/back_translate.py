"""There and back again: another wording of a text by way of another language."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
from pydantic import Field

from llmos.data.base import ID, Expanded, Expander, Rows, step
from llmos.data.synth.base import ModelStep
from llmos.data.synth.making import Making
from llmos.data.synth.rewriting import CheckedConfig, judged
from llmos.data.synth.translating import translated
from llmos.text.languages import language


@step("back_translate")
class BackTranslate(ModelStep, Expander):
    """Adds a row for each of `languages`: the text translated into it and back (Sennrich et al. 2016 for translation; Yu et al. 2018 to
    augment). What comes back as it was, or as another row, is refused; so is what has lost too much of it."""

    class Config(CheckedConfig):
        languages: tuple[str, ...] = Field(min_length=1, description="Languages to go by, names or codes.")
        source_language: str = Field("en", min_length=2, description="Language of the texts.")
        back_model: str = Field("", description='Translates back; "" is `model`, for models that know both directions.')
        max_tokens: int | None = Field(None, ge=1, description="For one part; None is three times as long as it.")
        min_likeness: float = Field(0.2, ge=0, le=1, description="What shares fewer has lost it.")

    models = ("model", "back_model", "verify_model")
    config: Config

    def prepare(self) -> None:
        for name in (*self.config.languages, self.config.source_language):
            language(name, param="languages")

    def expand(self, rows: Rows) -> Expanded:
        config, texts = self.config, rows.text(self.column).to_list()
        ids = rows.frame.get_column(ID).to_list()
        there = [row for row, text in enumerate(texts) if text.strip()]
        back = config.back_model or config.model
        model = self.ref() if back == config.model else f"{self.ref()}+{self.ref(back)}"
        making = Making(rows=rows, step=self.name, model=model, columns={self.column: pl.String}, originals=config.keep_original)
        found = []
        for nth, by in enumerate(config.languages):
            samplings = [self.sampling(ids[row], nth) for row in there]
            forth = translated(self, [texts[row] for row in there], samplings, by, source=config.source_language)
            home = [replace(one, temperature=0.0, seed=None) for one in samplings]
            again = translated(
                self, [answer.body.get("text", "") for answer in forth], home, config.source_language, source=by, model=back
            )
            for row, out, returned in zip(there, forth, again, strict=True):
                found.append((row, returned.body.get("text", "").strip(), out.refused or returned.refused))
        judged(self, making, found)
        return making.finish()

"""Questions about a document and answers that stand in it, by a model of the library."""

from __future__ import annotations

from typing import Any

import polars as pl
from pydantic import Field

from llmos.data.base import ID, Expanded, Expander, Rows, step
from llmos.data.synth.answerers import question
from llmos.data.synth.asked import Answer
from llmos.data.synth.base import ModelStep, WritingConfig
from llmos.data.synth.making import Making, json_of
from llmos.data.synth.overlap import likeness, support
from llmos.engine.asking import parts_of

PROMPT = (
    "Read the text and write {num} questions that it answers, each with its answer in the words of the text, in the language of the text, "
    'as JSON: {"pairs": [{"question": "…", "answer": "…"}]}\n\nText:\n{text}'
)
PAIR = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question", "answer"],
    "additionalProperties": False,
}


@step("qa_from_document")
class QaFromDocument(ModelStep, Expander):
    """Makes rows with a question and an answer out of each document; the document stays beside them. An answer must stand in the text:
    word by word it has a support of 1.0, else the largest share of its words in any stretch twice as long (the answers of SQuAD, Rajpurkar
    et al. 2016, are spans of the text; what is below `min_support` is refused). So is a question that holds its answer, or is asked
    twice. Documents past the model's context are read in parts."""

    class Config(WritingConfig):
        num_pairs: int = Field(3, ge=1, le=32, description="Pairs asked of each document, or part of one.")
        min_support: float = Field(0.8, ge=0, le=1, description="1.0: only answers that stand in the text word by word.")
        max_likeness: float = Field(0.9, ge=0, le=1, description="Questions that share more character trigrams are the same.")
        question_column: str = Field("question", min_length=1, description="Gets the question.")
        answer_column: str = Field("answer", min_length=1, description="Gets its answer.")
        part_tokens: int = Field(1024, ge=64, description="Longest part of a document in one question.")

    config: Config
    reason = "no pair"

    def expand(self, rows: Rows) -> Expanded:
        config, texts = self.config, rows.text(self.column).to_list()
        ids, session = rows.frame.get_column(ID).to_list(), self.session()
        parts = [
            (row, nth, part.strip())
            for row, text in enumerate(texts)
            for nth, part in enumerate(
                parts_of(session, text, self._prompt(""), answer_tokens=config.max_tokens, most=config.part_tokens)
            )
            if part.strip()
        ]
        asked = [question(self._prompt(part), self.sampling(ids[row], nth), self._schema()) for row, nth, part in parts]
        making = Making(
            rows=rows, step=self.name, model=self.ref(), originals=False,
            columns={config.question_column: pl.String, config.answer_column: pl.String},
        )  # fmt: skip
        taken: dict[int, list[str]] = {}
        for (row, _, part), answer in zip(parts, self.write(asked), strict=True):
            for one in self._pairs(row, answer, making):
                self._take(row, one, part, taken.setdefault(row, []), making)
        return making.finish()

    def _prompt(self, text: str) -> str:
        return PROMPT.replace("{num}", str(self.config.num_pairs)).replace("{text}", text)

    def _schema(self) -> dict[str, Any]:
        listed = {"type": "array", "items": PAIR, "minItems": 1, "maxItems": self.config.num_pairs}
        return {"type": "object", "properties": {"pairs": listed}, "required": ["pairs"], "additionalProperties": False}

    def _pairs(self, row: int, answer: Answer, making: Making) -> list[dict[str, str]]:
        try:
            listed = json_of(answer)["pairs"]
            if not all(isinstance(one[name], str) for one in listed for name in ("question", "answer")):
                raise TypeError
        except ValueError as problem:
            making.refuse(row, "answer", str(problem))
        except (TypeError, KeyError):
            making.refuse(row, "answer", f"The answer is not a list of pairs: {answer.body['text'][:80]!r}")
        else:
            return list(listed)
        return []

    def _take(self, row: int, one: dict[str, str], text: str, taken: list[str], making: Making) -> None:
        """Adds the pair, or says why not."""
        config, asked, told = self.config, one["question"].strip(), one["answer"].strip()
        found = support(told, text)
        twice = max((likeness(asked, other) for other in taken), default=0.0)
        pair = f"{asked[:150]} -> {told[:150]}"
        if not asked or not told:
            making.refuse(row, "answer", f"Question or answer is empty: {pair}")
        elif found < config.min_support:
            making.refuse(row, "support", pair, value=found, threshold=config.min_support)
        elif told.casefold() in asked.casefold():
            making.refuse(row, "answer", f"The question holds its answer: {pair}")
        elif twice > config.max_likeness:
            making.refuse(row, "likeness", pair, value=twice, threshold=config.max_likeness)
        else:
            taken.append(asked)
            making.add(row, {config.question_column: asked, config.answer_column: told})

"""New instructions like those that are there, with answers, by a model of the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from pydantic import Field

from llmos.data.base import ID, Expanded, Expander, Rows, step
from llmos.data.synth.answerers import question
from llmos.data.synth.asked import Answer
from llmos.data.synth.base import ModelStep, WritingConfig, seed_of
from llmos.data.synth.making import Making, json_of
from llmos.data.synth.overlap import rouge_l, words

PROMPT = (
    "Here are instructions for an assistant:\n\n{examples}\n\nWrite {num} more of the same kind, each about another subject, each in one "
    'sentence, as JSON: {"instructions": ["…"]}'
)
AVOID = ("image", "images", "picture", "pictures", "graph", "graphs")  # the paper's, section 2.2
MIN_WORDS, MAX_WORDS = 4, 150  # of an instruction: the limits of the published code


@step("self_instruct")
class SelfInstruct(ModelStep, Expander):
    """Adds rows with new instructions and their answers (Self-Instruct, Wang et al. 2022). Each row is a seed; the model sees it with
    num_examples - 1 drawn from `examples`. As in the paper an instruction is refused when its ROUGE-L with a seed it was shown or with
    another new one of that row is 0.7 or more, when it has fewer than 4 or more than 150 words, and when it speaks of what a text model
    cannot see. Seeds of other rows are not looked at here, so that rows can be computed anywhere: let rouge_l_dedup follow."""

    class Config(WritingConfig):
        temperature: float = Field(0.7, ge=0, le=2, description="The paper's for instructions; answers are the likeliest.")
        examples: tuple[str, ...] = Field((), description="Instructions to show beside the row's own, drawn for each row.")
        num_examples: int = Field(8, ge=1, le=32, description="Instructions shown, the row's own among them (the paper's 8).")
        num_new: int = Field(4, ge=1, le=32, description="New ones asked of each row.")
        max_rouge_l: float = Field(
            0.7, gt=0, le=1, description="From this likeness on an instruction is not new (the paper's 0.7)."
        )
        avoid_words: tuple[str, ...] = Field(
            ("image", "picture", "graph"), description="Instructions with one of them are refused."
        )
        answer_column: str = Field("answer", min_length=1, description="Gets the model's answer to the new instruction.")
        keep_original: bool = Field(True, description="Whether the seeds go on beside what is made of them.")

    config: Config

    def expand(self, rows: Rows) -> Expanded:
        config, texts = self.config, rows.text(self.column).to_list()
        ids = rows.frame.get_column(ID).to_list()
        seeds = [row for row, text in enumerate(texts) if text.strip()]
        shown = {row: [*self._examples(ids[row]), texts[row]] for row in seeds}
        found = self.write([question(self._prompt(shown[row]), self.sampling(ids[row]), self._schema()) for row in seeds])
        making = Making(
            rows=rows, step=self.name, model=self.ref(), columns={self.column: pl.String, config.answer_column: pl.String},
            originals=config.keep_original,
        )  # fmt: skip
        new = [(row, text) for row, answer in zip(seeds, found, strict=True) for text in self._new(row, answer, shown[row], making)]
        told = self.write([question(text, self.sampling(ids[row], temperature=0.0)) for row, text in new])
        for (row, text), answer in zip(new, told, strict=True):
            if answer.body.get("text", "").strip():
                making.add(row, {self.column: text, config.answer_column: answer.body["text"].strip()})
            else:
                making.refuse(row, "answer", answer.refused or f"The answer to {text[:80]!r} is empty.")
        return making.finish()

    def _examples(self, row: str) -> list[str]:
        ranked = sorted(self.config.examples, key=lambda one: seed_of(self.context.seed, self.name, row, one))
        return ranked[: self.config.num_examples - 1]

    def _prompt(self, shown: Sequence[str]) -> str:
        listed = "\n".join(f"- {' '.join(one.split())}" for one in shown)
        return PROMPT.replace("{num}", str(self.config.num_new)).replace("{examples}", listed)

    def _schema(self) -> dict[str, Any]:
        listed = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": self.config.num_new}
        return {
            "type": "object", "properties": {"instructions": listed}, "required": ["instructions"], "additionalProperties": False
        }  # fmt: skip

    def _new(self, row: int, answer: Answer, shown: Sequence[str], making: Making) -> list[str]:
        """The instructions of an answer that are new; the others are told to the ledger."""
        try:
            listed = json_of(answer)["instructions"]
            if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
                raise ValueError("The answer is not a list of instructions.")
        except (ValueError, TypeError, KeyError) as problem:
            making.refuse(row, "answer", str(problem) if isinstance(problem, ValueError) else "The answer has no instructions.")
            return []
        taken: list[str] = []
        for text in (one.strip() for one in listed):
            known = [words(one) for one in (*shown, *taken)]
            own = words(text)
            near = max(rouge_l(own, one) for one in known)
            avoided = next((word for word in self.config.avoid_words if word.casefold() in own), "")
            if not MIN_WORDS <= len(own) <= MAX_WORDS:
                making.refuse(row, "words", text[:200], value=len(own), threshold=MIN_WORDS if len(own) < MIN_WORDS else MAX_WORDS)
            elif avoided:
                making.refuse(row, "avoid_words", f"{avoided}: {text[:200]}")
            elif near >= self.config.max_rouge_l:
                making.refuse(row, "rouge_l", text[:200], value=near, threshold=self.config.max_rouge_l)
            else:
                taken.append(text)
        return taken

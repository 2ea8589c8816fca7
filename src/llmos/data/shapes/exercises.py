"""Prompts whose answers can be checked.

evals        {"input": [messages], "ideal"}: OpenAI evals, `ideal` one right answer or several
evals-text   the same with a text for `input`
rlvr         {"prompt", "ground_truth"}: reinforcement learning with verifiable rewards
rlvr-messages  the same with a list of messages for `prompt`
"""

from __future__ import annotations

from typing import Any

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.pairs import CARRIED
from llmos.data.shapes.preference import one
from llmos.data.shapes.records import Exercise, Turn
from llmos.data.shapes.turns import has_roles, read_turns, write_turns
from llmos.errors import InvalidValue


class ExerciseShape(Shape):
    """asks, knows: the columns of the prompt and of the answers."""

    record = Exercise
    asks = "input"
    knows = "ideal"
    many = True

    def fits(self, row: Row) -> bool:
        prompt = row.get(self.asks)
        return super().fits(row) and (isinstance(prompt, str) or has_roles(row[self.asks]))

    def read(self, row: Row) -> Exercise:
        extra = self.take(row)
        prompt, answers = row[self.asks], row[self.knows]
        turns = [Turn(role="user", content=prompt)] if isinstance(prompt, str) else read_turns(prompt, self.asks)
        many = isinstance(answers, list)
        return Exercise(prompt=turns, answers=list(answers) if many else [answers], many=many, extra=extra)

    def write(self, record: Exercise, to: Writing) -> Row:
        answers: Any = record.answers if record.many or len(record.answers) != 1 else record.answers[0]
        if not self.many and isinstance(answers, list):
            if len(answers) > 1:
                to.lose("answers", "all right answers but the first")
            if not answers:
                raise InvalidValue("There is no right answer.", param=self.knows)
            answers = answers[0]
        row: Row = {self.asks: self.prompt(record, to), self.knows: answers}
        extra = record.extra
        if self.asks == CARRIED and CARRIED in extra:
            to.lose(CARRIED, "where the instruction ends and its input begins")
            extra = {name: value for name, value in extra.items() if name != CARRIED}
        return self.carry(row, extra)

    def prompt(self, record: Exercise, to: Writing) -> Any:
        return write_turns(record.prompt)


@shapes.register("evals")
class Evals(ExerciseShape):
    name = "evals"
    columns = (Column("input", "a list of messages"), Column("ideal", "text or a list of texts"))


class TextExercise(ExerciseShape):
    def prompt(self, record: Exercise, to: Writing) -> Any:
        return one(record.prompt, "user", self.asks, to)


@shapes.register("evals-text")
class EvalsText(TextExercise):
    name = "evals-text"
    columns = (Column("input", "text"), Column("ideal", "text or a list of texts"))


@shapes.register("rlvr")
class Rlvr(TextExercise):
    name = "rlvr"
    columns = (Column("prompt", "text"), Column("ground_truth", "text"))
    asks, knows, many = "prompt", "ground_truth", False


@shapes.register("rlvr-messages")
class RlvrMessages(ExerciseShape):
    name = "rlvr-messages"
    columns = (Column("prompt", "a list of messages"), Column("ground_truth", "text"))
    asks, knows, many = "prompt", "ground_truth", False

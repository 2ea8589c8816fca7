"""Questions with their answers: SQuAD's {"context", "question", "answers": {"text", "answer_start"}}, and {"question", "answer"}."""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, is_texts, shapes
from llmos.data.shapes.records import Question
from llmos.errors import InvalidValue


@shapes.register("squad")
class Squad(Shape):
    """An empty list of answers is a question that the context does not answer (SQuAD 2.0)."""

    name = "squad"
    record = Question
    columns = (Column("context", "text"), Column("question", "text"), Column("answers", "an object"))

    def read(self, row: Row) -> Question:
        extra = self.take(row)
        texts, starts = row["answers"].get("text"), row["answers"].get("answer_start")
        sound = is_texts(texts) and isinstance(starts, list) and all(isinstance(start, int) for start in starts)
        if not sound or row["answers"].keys() != {"text", "answer_start"} or len(texts) != len(starts):
            raise InvalidValue("Answers have the lists text and answer_start, of one length.", param="answers")
        return Question(question=row["question"], context=row["context"], answers=list(texts), starts=list(starts), extra=extra)

    def write(self, record: Question, to: Writing) -> Row:
        context = record.context
        if context is None:
            raise InvalidValue("SQuAD rows have a context; this question has none.", param="context")
        starts = record.starts
        if starts is None:
            starts = [context.find(answer) for answer in record.answers]
            if -1 in starts:
                absent = record.answers[starts.index(-1)]
                raise InvalidValue(f"The answer {absent!r} does not stand in the context.", param="answers")
        row: Row = {"context": context, "question": record.question}
        row["answers"] = {"text": record.answers, "answer_start": starts}
        return self.carry(row, record.extra)


@shapes.register("question-answer")
class QuestionAnswer(Shape):
    name = "question-answer"
    record = Question
    columns = (
        Column("question", "text"),
        Column("answer", "text or a list of texts"),
        Column("context", "text", required=False),
    )

    def read(self, row: Row) -> Question:
        extra = self.take(row)
        answer = row["answer"]
        answers = list(answer) if isinstance(answer, list) else [answer]
        return Question(question=row["question"], answers=answers, context=row.get("context"), extra=extra)

    def write(self, record: Question, to: Writing) -> Row:
        if record.starts and record.context is not None:
            found = [record.context.find(answer) for answer in record.answers]
            if found != record.starts:
                to.lose("answers.answer_start", "where in the context the answers begin")
        row: Row = {} if record.context is None else {"context": record.context}
        row |= {"question": record.question, "answer": record.answers[0] if len(record.answers) == 1 else record.answers}
        return self.carry(row, record.extra)

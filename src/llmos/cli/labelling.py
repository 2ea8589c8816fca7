"""Labelling in the terminal: an item is shown, a line is read, the next one is there already.

good        a label, by name, else by its key; a number, a text: what the task wants
Enter       takes the suggestion
/s why      skip      /u  undo      /q  quit
"""

from __future__ import annotations

import json
import time
from typing import Any, TextIO

from llmos.cli.annotatetext import shown_item
from llmos.cli.output import err, out, say
from llmos.data.annotate.base import AnnotationProject, Assigned
from llmos.errors import InvalidValue
from llmos.sdk.annotations import AnnotationHandle

AHEAD = 2


class Desk:
    """One annotator at work. Items are reserved two at a time, so that the next one is there when a save returns."""

    def __init__(self, project: AnnotationHandle, annotator: str | None) -> None:
        self.project, self.annotator = project, annotator
        self.num_saved = 0

    def run(self, lines: TextIO) -> None:
        """Until nothing is left, the lines end, or somebody quits."""
        labels = [
            f"{label['key']} {label['name']}" if label["key"] else label["name"] for label in self.project.record.config["labels"]
        ]
        say(f"{', '.join(labels) or self.project.task}.  Enter: the suggestion.  /s why: skip.  /u: undo.  /q: quit.")
        while waiting := list(self.project.next(AHEAD, annotator=self.annotator)):
            if not self._ask(waiting[0], lines):
                break
        else:
            say("Nothing is left to do.")
        say(f"{self.num_saved} saved.")

    def _ask(self, item: Assigned, lines: TextIO) -> bool:
        """Shows one item until something is done with it. False: enough."""
        out.print(shown_item(item), markup=False, highlight=False)
        began = time.monotonic()
        while True:
            err.print("> ", end="")
            line = lines.readline()
            said = line.strip()
            if not line or said == "/q":
                return False
            try:
                if self._done(item, said, round(time.monotonic() - began, 3)):
                    return True
            except InvalidValue as problem:
                say(str(problem))

    def _done(self, item: Assigned, said: str, seconds: float) -> bool:
        if said == "/u":
            back = self.project.undo(annotator=self.annotator)
            say(f"Item {back[0].item} comes again." if back else "There is nothing to take back.")
            self.num_saved -= len(back)
            return bool(back)
        if said.split(maxsplit=1)[:1] == ["/s"]:
            self.project.skip(item, said[2:].strip(), annotator=self.annotator, seconds=seconds)
            return True
        if not said and item.prelabel is None:
            raise InvalidValue("There is no suggestion to take.", param="value")
        value = item.prelabel.value if not said and item.prelabel is not None else value_of(self.project.record, said)
        self.project.save(item, value, annotator=self.annotator, seconds=seconds)
        self.num_saved += 1
        return True


def value_of(record: AnnotationProject, said: str) -> dict[str, Any]:
    """What a line means for the task of a project. Raises InvalidValue."""
    if said.lstrip().startswith("{"):
        try:
            found = json.loads(said)
        except ValueError as problem:
            raise InvalidValue(f"This is no JSON: {problem}.", param="VALUE") from None
        assert isinstance(found, dict)
        return found
    by_key = {label["key"]: label["name"] for label in record.config["labels"] if label["key"]}
    by_key |= {label["name"]: label["name"] for label in record.config["labels"]}  # a label called 1 is meant by 1
    text = said.strip()
    chosen = by_key.get(text, text)
    meant: dict[str, dict[str, Any]] = {
        "classification": {"label": chosen},
        "multilabel": {"labels": [by_key.get(part.strip(), part.strip()) for part in said.split(",") if part.strip()]},
        "conversation": {"verdict": chosen, "turns": []},
        "preference": {"choice": text},
        "text": {"text": said},
        "translation": {"target": said},
    }
    if record.task == "rating" and text.lstrip("-").isdecimal():
        return {"rating": int(text)}
    if record.task not in meant:
        raise InvalidValue(f"Give a value for {record.task!r} as JSON, not {said!r}.", param="VALUE")
    return meant[record.task]

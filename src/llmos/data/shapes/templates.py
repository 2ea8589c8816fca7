"""Questions put to a chat model in place of columns, and back: "Translate from {source_language} to …".

Placeholders are names in braces, replaced in one pass; nothing in a text is ever read as a placeholder or evaluated.
"""

from __future__ import annotations

import re

from llmos.errors import InvalidValue

CLASSIFICATION = "Classify the following text.\n\n{text}"
PAIR_CLASSIFICATION = "Classify the following pair of texts.\n\nFirst: {text}\n\nSecond: {pair}"
TRANSLATION = "Translate the following text from {source_language} to {target_language}.\n\n{source}"
SUMMARY = "Summarise the following text.\n\n{document}"
QUESTION = "{question}"
CONTEXT_QUESTION = "{context}\n\n{question}"

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def fill(template: str, values: dict[str, str]) -> str:
    """The template with its placeholders replaced. Raises InvalidValue for one that the row does not have."""
    _check(template, set(values))
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def unfill(template: str, text: str, names: set[str]) -> dict[str, str]:
    """The values that fill made the text from. Raises InvalidValue when the text was not made from this template, or when it can
    be read in two ways (the leftmost reading and the rightmost differ)."""
    _check(template, names)
    parts = _PLACEHOLDER.split(template)  # literal, name, literal, name, …, literal
    literals, asked = parts[::2], parts[1::2]
    leftmost = _reading(literals, asked, text)
    backwards = _reading([each[::-1] for each in literals[::-1]], asked[::-1], text[::-1])
    if leftmost is None or backwards is None:
        raise InvalidValue("The message was not made from the template.", param="template")
    if leftmost != {name: value[::-1] for name, value in backwards.items()}:
        raise InvalidValue("The message can be read in two ways with this template.", param="template")
    return leftmost


def _reading(literals: list[str], names: list[str], text: str) -> dict[str, str] | None:
    """The values when each literal stands at the first place it can. Linear in the text."""
    if not text.startswith(literals[0]):
        return None
    values: dict[str, str] = {}
    at = len(literals[0])
    for place, name in enumerate(names):
        last = place == len(names) - 1
        literal = literals[place + 1]
        end = len(text) - len(literal) if last else text.find(literal, at)
        if end < at or not text.startswith(literal, end) or values.setdefault(name, text[at:end]) != text[at:end]:
            return None
        at = end + len(literal)
    return values


def _check(template: str, names: set[str]) -> None:
    asked = _PLACEHOLDER.findall(template)
    unknown = [name for name in asked if name not in names]
    if unknown or not asked:
        what = f"{{{unknown[0]}}} is not known" if unknown else "it has no placeholder"
        raise InvalidValue(f"Bad template: {what}.", param="template", hint=f"Known: {', '.join(sorted(names))}.")

"""Renders one chat template; runs only inside the limited child process of render.py.

The environment is the one `transformers` gives templates (chat_template_utils.py): an immutable sandbox, trimmed blocks,
`raise_exception`, `strftime_now`, a `tojson` that does not escape HTML, loop controls and the `generation` tag.
"""

from __future__ import annotations

import datetime
import json
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from llmos.errors import InvalidValue, ModelFileError


class Refused(jinja2.TemplateError):
    """The template called raise_exception: it does not accept these messages."""


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}` marks what the assistant wrote, for training. Here it is just its body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own signature

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: object) -> NoReturn:
    raise Refused(str(message))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().astimezone().strftime(form)
    return environment.from_string(source)


def render(argument: dict[str, Any]) -> str:
    """argument: {"source": template, "variables": {…}, "continue_final": bool}. Returns the prompt text."""
    variables = argument["variables"]
    try:
        text = _compiled(argument["source"]).render(**variables)
    except Refused as refusal:
        raise InvalidValue(f"The chat template refuses these messages: {refusal}", param="messages") from None
    except MemoryError:
        raise
    except Exception as problem:  # noqa: BLE001 - a template can raise anything
        raise ModelFileError(
            f"The model's chat template fails: {type(problem).__name__}: {str(problem)[:300]}",
            hint="Send other messages, or use a completion instead of a chat.",
        ) from None
    return _open_end(text, str(variables["messages"][-1]["content"])) if argument["continue_final"] else text


def _open_end(text: str, final: str) -> str:
    """The text up to the end of the last message, so that the model goes on with it. Templates may trim that message."""
    start = text.rfind(final.strip())
    if not final.strip() or start < 0:
        raise InvalidValue("The chat template does not show the last message, so it cannot be continued.", param="messages")
    whole = text.find(final.lstrip(), start)
    return text[: whole + len(final.lstrip())] if whole == start else text[: start + len(final.strip())]

"""`llmos run`: one question, one answer, streamed. The prompt comes from the argument, from stdin, or from both."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from llmos.cli.output import JSON, URL, err, examples, print_json, progress_bar, say
from llmos.errors import InvalidValue
from llmos.sdk.client import LLMOS
from llmos.sdk.model import Model
from llmos.sdk.options import Options
from llmos.sdk.text import TextStream
from llmos.settings import current

MODEL = typer.Option("--model", "-m", help="Model or alias. Default: LLMOS_DEFAULT_MODEL, or smollm2-135m-instruct.")


def add_to(app: typer.Typer) -> None:
    ends = examples(
        'llmos run "Write a haiku about the sea."',
        'cat report.txt | llmos run "Summarise this in two sentences."',
        'llmos run --raw --temperature 0 "The capital of France is"',
        'llmos run --json-schema @schema.json "Invent a person." > person.json',
    )
    app.command("run", epilog=ends)(run)


def run(
    prompt: Annotated[str | None, typer.Argument(help="The question. '-' or nothing reads it from stdin.")] = None,
    model: Annotated[str | None, MODEL] = None,
    system: Annotated[str | None, typer.Option(help="Instructions that come before the question.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the text instead of answering it as a chat.")] = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.7,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens that make up this much.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Makes the answer repeatable.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End the answer at this text. May be given several times.")] = None,
    json_schema: Annotated[str | None, typer.Option(help="A JSON schema, or @FILE, that the answer must match.")] = None,
    engine: Annotated[str | None, typer.Option(help="Use this engine instead of the measured choice.")] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Ask one question and stream the answer. What comes through a pipe is added to the question."""
    question = _question(prompt)
    options: Options = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed, "stop": stop or []}
    if json_schema:
        options["json_schema"] = _schema(json_schema)
    with LLMOS(url, notify=say, one_shot=True) as llmos:
        with progress_bar() as report:
            loaded = llmos.load_model(model or current().default_model, engine=engine, on_progress=report)
        started = time.monotonic()
        stream = _start(loaded, question, system, raw, options)
        if json_output:
            _as_json(stream)
            return
        _show(stream, started)


def _start(model: Model, question: str, system: str | None, raw: bool, options: Options) -> TextStream:
    if raw or not model.chats:
        if system:
            raise InvalidValue("--system needs a model with a chat template, and not --raw.", param="system")
        return model.stream(question, **options)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    return model.stream(messages=[*messages, {"role": "user", "content": question}], **options)


def _show(stream: TextStream, started: float) -> None:
    first: float | None = None
    for piece in stream:
        first = first or time.monotonic()
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    if stream.finish_reason == "length":
        say("(stopped at --max-tokens)")
    if err.is_terminal and first is not None:
        say(statistics(stream, started, first))


def statistics(stream: TextStream, started: float, first: float) -> str:
    """The line under an answer: tokens, speed, time to the first token, engine."""
    seconds = max(time.monotonic() - first, 1e-9)
    written = stream.usage.completion_tokens
    speed = f"{(written - 1) / seconds:.0f} tokens/s, " if written > 1 else ""
    return f"[{written} tokens, {speed}first after {first - started:.2f} s, {stream.model} on {stream.engine}]"


def _as_json(stream: TextStream) -> None:
    for _ in stream:
        pass
    usage = stream.usage
    print_json(
        {
            "text": stream.text,
            "model": stream.model,
            "engine": stream.engine,
            "finish_reason": stream.finish_reason,
            "usage": {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens},
        }
    )


def _question(prompt: str | None) -> str:
    try:
        piped = "" if sys.stdin.isatty() else sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise InvalidValue(f"What comes through the pipe is not text: {problem}.", param="prompt", hint="Send UTF-8.") from None
    asked = "" if prompt in (None, "-") else str(prompt)
    question = "\n\n".join(part for part in (asked, piped.strip("\n")) if part)
    if not question:
        raise InvalidValue("There is no question.", param="prompt", hint='Give one: llmos run "Why is the sky blue?"')
    return question


def _schema(given: str) -> dict[str, Any]:
    import json
    from pathlib import Path

    try:
        schema = json.loads(Path(given[1:]).read_text() if given.startswith("@") else given)
    except OSError as problem:
        raise InvalidValue(f"{given[1:]} cannot be read: {problem.strerror}.", param="json_schema") from None
    except ValueError as problem:
        raise InvalidValue(f"--json-schema is not JSON: {problem}", param="json_schema") from None
    if not isinstance(schema, dict):
        raise InvalidValue("--json-schema must be a JSON object.", param="json_schema")
    return schema

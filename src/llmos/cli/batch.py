"""`llmos batch run`: a file of requests in, a file of answers out. What a run has finished stays; the same command goes on from there."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from llmos.cli.output import JSON, err, examples, print_json, progress_bar, say
from llmos.engine.batch.base import MAX_LINE_BYTES, WINDOW, Counts, InvalidBatch, Rules
from llmos.engine.batch.work import Batch
from llmos.errors import Conflict, InvalidValue, NotFound
from llmos.settings import current

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Answer whole files of requests. Those of a server are jobs: llmos jobs --kind batch.",
)
SHOWN = 10  # bad lines that are listed


def add_to(root: typer.Typer) -> None:
    root.add_typer(app, name="batch", epilog=examples("llmos batch run requests.jsonl -o answers.jsonl", "llmos batch run --help"))


@app.command(
    "run",
    epilog=examples(
        "llmos batch run requests.jsonl -o answers.jsonl --model smollm2-135m-instruct",
        "llmos batch run texts.jsonl -o vectors.jsonl --endpoint /v1/embeddings --model all-minilm-l6-v2",
        'a line may be of the OpenAI batch format, or just {"prompt": "…"} or {"messages": […]}',
    ),
)
def run(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="JSON lines: batch requests, or bodies of requests.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the answers go, in the order of the input.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model or alias, instead of what the lines say.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="What the lines ask. Default: what the first says, or /v1/chat/completions.")
    ] = None,
    errors: Annotated[
        Path | None, typer.Option(help="Where failed requests go. Default: beside the output, .errors.jsonl.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Requests in flight at most.")] = WINDOW,
    engine: Annotated[str | None, typer.Option(help="Use this engine instead of the measured choice.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew: forget what an earlier run has finished.")] = False,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Answer every request of a file. Interrupted or killed, the same command goes on with what is missing."""
    errors = errors or output.with_name(f"{output.stem}.errors.jsonl")
    folder = output.with_name(f"{output.name}.batch")
    _check_paths(source, output, errors, folder, restart=restart)
    rules = Rules(endpoint=endpoint or _endpoint_of(source), model=model, plain=True)
    from llmos.server.batch.answers import check_endpoint

    check_endpoint(rules.endpoint)
    try:
        batch = Batch(folder, source, rules)
    except InvalidBatch as refused:
        shutil.rmtree(folder, ignore_errors=True)
        for problem in refused.problems[:SHOWN]:
            say(f"line {problem.line}: {problem.message}" if problem.line else problem.message)
        raise
    started = time.monotonic()
    with batch:
        load_s = _work(batch, engine, concurrency)
        written = batch.finish(output, errors)
    if not written.errors:
        errors.unlink()
    shutil.rmtree(folder)
    seconds = {"seconds": round(time.monotonic() - started, 2), "load_seconds": round(load_s, 2)}
    _tell(batch.counts, output, errors, seconds, json_output=json_output)
    if written.errors:
        raise typer.Exit(1)


def _check_paths(source: Path, output: Path, errors: Path, folder: Path, *, restart: bool) -> None:
    if not source.is_file():
        raise NotFound(f"There is no file {source}.", param="INPUT")
    if len({path.absolute() for path in (source, output, errors)}) < 3:
        raise InvalidValue("Input, output and errors must be three different files.", param="output")
    if restart:
        shutil.rmtree(folder, ignore_errors=True)
    elif output.exists() and not folder.exists():
        raise Conflict(f"{output} is there already.", hint="Remove it, give another -o, or --restart to replace it.")


def _endpoint_of(source: Path) -> str:
    """What the first request asks; a line that is no batch request asks a chat."""
    with source.open("rb") as file:
        while raw := file.readline(MAX_LINE_BYTES):
            if raw.strip():
                try:
                    first = json.loads(raw)
                except ValueError:
                    break  # the plan names the line
                url = first.get("url") if isinstance(first, dict) and "body" in first else None
                return url if isinstance(url, str) else "/v1/chat/completions"
    return "/v1/chat/completions"


def _work(batch: Batch, engine: str | None, concurrency: int) -> float:
    """Asks what is missing. Returns the seconds until the model was there."""
    from llmos.engine.batch.engines import batch_session
    from llmos.library.library import Library
    from llmos.server.batch.answers import answers_for, feature_of

    counts, settings, endpoint = batch.counts, current(), batch.plan.rules.endpoint
    if counts.done:
        say(f"Going on: {counts.done:,} of {counts.total:,} requests are answered already.")
    if counts.done == counts.total:
        return 0.0
    began = time.monotonic()
    feature, plan, library = feature_of(endpoint), batch.plan, Library.open(settings)
    with ExitStack() as stack:
        with progress_bar() as report:
            source = batch_session(
                settings, library, plan.model, feature, engine=engine, pull=report, num_shared=plan.num_shared, notify=say
            )
            session, shared = stack.enter_context(source)
        load_s = time.monotonic() - began
        answers = stack.enter_context(closing(answers_for(endpoint, session, deadline_s=settings.request_deadline_s)))
        try:
            with _bar(counts) as control:
                batch.run(answers, control, window=concurrency, shared=shared)
        except KeyboardInterrupt:
            say(f"Stopped after {batch.counts.done:,} of {batch.counts.total:,} requests. The same command goes on from there.")
            raise
    return load_s


class _Shown:
    """A Control that draws."""

    def __init__(self, bar: Progress, counts: Counts) -> None:
        self._bar, self._started = bar, time.monotonic()
        self._tokens = counts.usage.total_tokens
        self._task = bar.add_task("requests", total=counts.total, completed=counts.done, speed="", failed="")

    def step(self) -> None:
        """A person interrupts with Ctrl-C."""

    def report(self, counts: Counts) -> None:
        speed = (counts.usage.total_tokens - self._tokens) / max(time.monotonic() - self._started, 1e-6)
        failed = f", {counts.failed} failed" if counts.failed else ""
        self._bar.update(self._task, completed=counts.done, speed=f"{speed:,.0f} tokens/s", failed=failed)


@contextmanager
def _bar(counts: Counts) -> Iterator[_Shown]:
    columns: tuple[Any, ...] = (
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} requests{task.fields[failed]}, {task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        yield _Shown(bar, counts)


def _tell(counts: Counts, output: Path, errors: Path, seconds: dict[str, float], *, json_output: bool) -> None:
    usage = counts.usage
    if json_output:
        print_json(
            {
                "total": counts.total,
                "completed": counts.completed,
                "failed": counts.failed,
                "asked_now": counts.new,
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                **seconds,
                "output": str(output),
                "errors": str(errors) if counts.failed else None,
            }
        )
        return
    tokens = f"{usage.completion_tokens:,} tokens written, {usage.prompt_tokens:,} read"
    say(f"{counts.completed:,} answers in {output}: {tokens}, {seconds['seconds']:.1f} s.")
    if counts.failed:
        say(f"{counts.failed:,} requests failed; {errors} says why.")

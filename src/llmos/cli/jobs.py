"""`llmos jobs`, `logs`, `cancel`, `pause`, `resume`: what runs longer than a command.

They look into this machine's database, whether a server runs or not; `--url` asks a server instead. An id may be shortened to any
beginning that fits one job only.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from llmos.cli.follow import Printer
from llmos.cli.jobtext import PREFIX, age, progress_text, short_ids, standing
from llmos.cli.output import JSON, err, examples, out, print_json, printable, say, table
from llmos.errors import InvalidValue, NotFound
from llmos.kernel.base import Job, JobEvent, JobSpec, JobState, Priority
from llmos.sdk.base import JobCalls
from llmos.sdk.jobs import make_spec, one_of, outcome
from llmos.sdk.jobs_local import LocalJobs
from llmos.settings import current

ID = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, or its beginning as `llmos jobs` shows it.")]
IDS = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of jobs, or their beginnings.")]
URL = typer.Option("--url", help="Ask the server at this address instead of this machine's database.")
KIND = typer.Option("--kind", help="Only jobs of this kind.")
LABEL = typer.Option("--label", help="NAME=VALUE. May be repeated.")
_LONGEST_ID = 40
_PAGE = 500


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
    group.callback(invoke_without_command=True)(list_jobs)
    group.command("show", epilog=examples("llmos jobs show job_00064a1b2c3d4e", "llmos jobs show job_00064a1b2c3d4e --json"))(show)
    group.command("rm", epilog=examples("llmos jobs rm job_00064a1b2c3d4e"))(remove)
    submitting = ("llmos jobs submit pull model=gpt2 --wait", """llmos jobs submit pull --params '{"model": "gpt2"}'""")
    group.command("submit", epilog=examples(*submitting))(submit)
    listing = ("llmos jobs", "llmos jobs --state running --kind pull", "llmos jobs show ID", "llmos jobs --help")
    app.add_typer(group, name="jobs", epilog=examples(*listing))
    app.command("logs", epilog=examples("llmos logs job_00064a1b2c3d4e", "llmos logs -f job_00064a1b2c3d4e"))(logs)
    for how in (cancel, pause, resume):
        app.command(how.__name__, epilog=examples(f"llmos {how.__name__} job_00064a1b2c3d4e"))(how)


@contextmanager
def opened(url: str | None, *, run_here: bool = False) -> Iterator[JobCalls]:
    """The jobs of a server, or of this machine's database. run_here: this process runs jobs when no server does."""
    if url is not None:
        from llmos.sdk.client import LLMOS

        with LLMOS(url, notify=say) as llmos:
            yield llmos._transport.jobs
        return
    from llmos.infra.database import open_database
    from llmos.plugins import load_plugins

    load_plugins()
    database = open_database(current())
    try:
        calls = LocalJobs(current(), database, run_here=run_here, notify=say)
        try:
            yield calls
        finally:
            calls.close()
    finally:
        database.close()


def find(calls: JobCalls, beginning: str) -> str:
    """The id that begins so. Raises NotFound, InvalidValue when several do."""
    wanted = beginning if beginning.startswith(PREFIX) else PREFIX + beginning
    found: list[str] = []
    if re.fullmatch(r"[a-z0-9_]{4,40}", wanted):
        last = wanted + "z" * (_LONGEST_ID - len(wanted))  # ids are lower-case hex: none that begins so sorts behind it
        page = calls.list(states=(), kind=None, labels={}, limit=2, before=last)
        found = [job.id for job in page if job.id.startswith(wanted)]
    if len(found) == 1 or (found and found[0] == wanted):
        return found[0]
    if not found:
        raise NotFound(f"There is no job {printable(beginning)!r}.", param="id", hint="See them with: llmos jobs")
    raise InvalidValue(
        f"{beginning!r} fits several jobs, among them {' and '.join(found)}.", param="id", hint="Give more of the id."
    )


# -- listing -----------------------------------------------------------------------------------------------------------
def list_jobs(
    context: typer.Context,
    state: Annotated[list[str] | None, typer.Option("--state", help="Only jobs in this state. May be repeated.")] = None,
    kind: Annotated[str | None, KIND] = None,
    label: Annotated[list[str] | None, LABEL] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many, the newest first.")] = 20,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """List jobs, newest first. `llmos top` shows them live."""
    if context.invoked_subcommand is not None:
        return
    states = [one_of(JobState, one, "state") for one in state or ()]
    with opened(url) as calls:
        found = calls.list(states=states, kind=kind, labels=_pairs(label or (), "label"), limit=limit, before=None)
    if json_output:
        print_json({"jobs": [plain(job) for job in found]})
        return
    columns, rows = listed(found)
    table(columns, rows, empty="No jobs." if states or kind or label else "No jobs yet. A first one: llmos pull NAME --detach")


def listed(jobs: Sequence[Job]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of 80 characters; the project only when there are several."""
    ids = short_ids([job.id for job in jobs])
    several = len({job.project for job in jobs}) > 1
    columns = ["ID", "STATE", "KIND", "PROGRESS", "AGE", *(["PROJECT"] if several else [])]
    return columns, [
        [ids[job.id], job.state.value, job.kind[:12], standing(job)[:26], age(job), *([job.project[:12]] if several else [])]
        for job in jobs
    ]


def plain(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found


def _pairs(given: Sequence[str], what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise InvalidValue(f"{one!r} is not of the form NAME=VALUE.", param=what)
        found[name] = value
    return found


def show(id: ID, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """All that is known of a job. Its history: llmos logs ID."""
    with opened(url) as calls:
        job = calls.get(find(calls, id))
    if json_output:
        print_json(plain(job))
        return
    facts = {name: value for name, value in plain(job).items() if value not in (None, "", (), [], {}, 0) and name != "beat"}
    facts["progress"] = progress_text(job.progress)
    facts["retry"] = f"{job.retry.attempts} attempts"
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if text:
            out.print(f"{name.replace('_', ' '):<{width}}  {printable(text)}", markup=False, highlight=False)


def remove(ids: IDS, url: Annotated[str | None, URL] = None) -> None:
    """Forget jobs that are over, with their history and their folders."""
    with opened(url) as calls:
        for id in ids:
            job_id = find(calls, id)
            calls.remove(job_id)
            out.print(job_id, markup=False, highlight=False)


# -- submitting --------------------------------------------------------------------------------------------------------
def submit(
    kind: Annotated[str, typer.Argument(help="Kind of the job: pull, import, batch, or one of a plugin.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Parameters; a VALUE may be JSON.")] = None,
    params: Annotated[str | None, typer.Option("--params", help="All parameters as a JSON object.")] = None,
    priority: Annotated[Priority, typer.Option(help="Who goes first.")] = Priority.NORMAL,
    after: Annotated[list[str] | None, typer.Option("--after", metavar="ID", help="Wait until this job has succeeded.")] = None,
    deadline_s: Annotated[float | None, typer.Option("--deadline", help="Seconds from now after which it fails.")] = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="The same key again gives the same job.")] = None,
    label: Annotated[list[str] | None, LABEL] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow it to its end, and run it here when no server does.")] = False,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Submit a job of any kind. Prints its id, or with --wait its result."""
    with opened(url, run_here=wait) as calls:
        spec = make_spec(
            kind,
            given(settings or (), params),
            priority=priority,
            depends_on=[find(calls, one) for one in after or ()],
            idempotency_key=key,
            deadline_s=deadline_s,
            resources=None,
            retry=None,
            labels=_pairs(label or (), "label"),
        )
        job = calls.submit(spec)
        if wait:
            say(f"Job {job.id}")
            _follow(calls, job.id, Printer(err, live=True))
            print_json(outcome(calls.get(job.id)))
            return
        _say_who_runs(calls, job)
    if json_output:
        print_json(plain(job))
        return
    out.print(job.id, markup=False, highlight=False)


def _say_who_runs(calls: JobCalls, job: Job) -> None:
    """A job that waits for a runner says so."""
    if not job.state.final and isinstance(calls, LocalJobs) and not calls.jobs.runs_here():
        say(f"No server runs jobs here. Start one (llmos serve), or run it now: llmos logs -f {job.id}")


def submit_pull(model: str, *, accept_licence: bool) -> Job:
    """`llmos pull --detach`: the job, in this machine's database."""
    with opened(None) as calls:
        params = {"model": model, "accept_licence": accept_licence}
        job = calls.submit(JobSpec(kind="pull", params=params))
        _say_who_runs(calls, job)
        return job


def given(words: Sequence[str], whole: str | None) -> dict[str, Any]:
    """The parameters of a job: NAME=VALUE words, over a JSON object. Raises InvalidValue."""
    try:
        found = {} if whole is None else json.loads(whole)
    except ValueError as problem:
        raise InvalidValue(f"--params is not JSON: {problem}.", param="params") from None
    if not isinstance(found, dict):
        raise InvalidValue("--params must be a JSON object.", param="params")
    return {**found, **{name: _value(text) for name, text in _pairs(words, "params").items()}}


def _value(text: str) -> Any:
    """JSON when it is, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


# -- following ---------------------------------------------------------------------------------------------------------
def logs(
    id: ID,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over. Exit 1 when it has failed.")] = False,
    level: Annotated[Level, typer.Option(help="Leave out log lines below this.")] = Level.INFO,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=1, help="Only the last so many lines.")] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, typer.Option("--json", help="One event a line, as JSON.")] = False,
) -> None:
    """Show the history of a job. With -f it follows it, and runs it when no server does; Ctrl-C leaves the job alone."""
    with opened(url, run_here=follow) as calls:
        job_id = find(calls, id)
        printer = Printer(out, level=level, as_json=json_output, live=follow)
        past = _past(calls, job_id, tail)
        for event in past:
            printer.show(event)
        if follow:
            _follow(calls, job_id, printer, after=past[-1].seq if past else 0)
            outcome(calls.get(job_id))


def _past(calls: JobCalls, job_id: str, tail: int | None) -> list[JobEvent]:
    """The events so far, or the last of them. Progress counts as a line only when it is the last."""
    found: deque[JobEvent] = deque(maxlen=tail)
    after = 0
    while page := calls.events(job_id, after=after, limit=_PAGE):
        found.extend(event for event in page if event.type != "progress" or event is page[-1])
        after = page[-1].seq
    return list(found)


def _follow(calls: JobCalls, job_id: str, printer: Printer, *, after: int = 0) -> None:
    """Until the job is over."""
    try:
        with printer:
            for event in calls.follow(job_id, after=after):
                printer.show(event)
    except KeyboardInterrupt:
        here = isinstance(calls, LocalJobs) and calls.runs_here
        say(f"The job {'waits for the next one who runs it' if here else 'goes on'}: llmos logs -f {job_id}")
        raise


# -- steering ----------------------------------------------------------------------------------------------------------
def cancel(ids: IDS, url: Annotated[str | None, URL] = None) -> None:
    """End jobs: at once when they wait, at their next step when they run."""
    with opened(url) as calls:
        for id in ids:
            job = calls.steer(find(calls, id), "cancel")
            _said(job, "Cancelled." if job.state.final else "It ends at its next step.")


def pause(ids: IDS, url: Annotated[str | None, URL] = None) -> None:
    """Stop jobs until they are resumed: at once when they wait, at their next step when they run."""
    with opened(url) as calls:
        for id in ids:
            job = calls.steer(find(calls, id), "pause")
            again = isinstance(calls, LocalJobs) and calls.jobs.starts_over(job)
            when = "Paused." if job.state is JobState.PAUSED else "It pauses at its next step."
            loss = " Jobs of this kind keep no checkpoints: it will begin again." if again else ""
            _said(job, f"{when}{loss} Go on with: llmos resume {job.id}")


def resume(ids: IDS, url: Annotated[str | None, URL] = None) -> None:
    """Let paused jobs go on, from their last checkpoint."""
    with opened(url) as calls:
        for id in ids:
            job = calls.steer(find(calls, id), "resume")
            if job.state is JobState.RUNNING:
                _said(job, "It runs.")
            else:
                _said(job, "Queued; it goes on as soon as there is room.")
                _say_who_runs(calls, job)


def _said(job: Job, sentence: str) -> None:
    say(sentence)
    out.print(job.id, markup=False, highlight=False)

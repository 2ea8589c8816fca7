"""`llmos annotate`: projects in which people label items, from the command line; also to label in the terminal itself.

They work on this machine's database, whether a server runs or not, or on a server with `--url`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from llmos.cli.annotatetext import agreement_rows, progress_rows, shown_item
from llmos.cli.labelling import Desk, value_of
from llmos.cli.output import JSON, examples, out, print_json, say, table
from llmos.data.annotate.exchange.export import FORMATS
from llmos.data.annotate.service import IMPORTS
from llmos.errors import InvalidValue, NotFound
from llmos.sdk.annotations import AnnotationHandle
from llmos.sdk.client import LLMOS
from llmos.settings import current

REF = Annotated[str, typer.Argument(metavar="PROJECT", help="Name or id of the annotation project.")]
ITEM = Annotated[int, typer.Argument(metavar="ITEM", min=1, help="Number of the item.")]
VALUE = Annotated[str, typer.Argument(metavar="VALUE", help="A label, a number, a text, or JSON as the task wants it.")]
URL = typer.Option("--url", help="Ask the server at this address, with LLMOS_API_KEY, instead of this machine's database.")
WHO = typer.Option("--annotator", help="Under which name. Default: the key, or 'local'.")
SHOWN = 10
_HELP = {"help_option_names": ["-h", "--help"]}


def add_to(root: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings=_HELP,
        help="Let people label data, and see how far they agree.",
    )
    for name, command, lines in (
        ("create", create, ("llmos annotate create mood --label good --label bad --overlap 2",)),
        ("import", import_items, ("llmos annotate import mood reviews.jsonl --column text=body",)),
        ("list", list_projects, ("llmos annotate list --json",)),
        ("show", show, ("llmos annotate show mood",)),
        ("next", next_items, ("llmos annotate next mood --count 3 --json",)),
        ("label", label, ("llmos annotate label mood", "llmos annotate label mood 7 good")),
        ("undo", undo, ("llmos annotate undo mood",)),
        ("adjudicate", adjudicate, ("llmos annotate adjudicate mood 7 good --note irony",)),
        ("export", export, ("llmos annotate export mood --format rows -o labelled.jsonl",)),
        ("errors", errors, ("llmos annotate errors mood",)),
        ("prelabel", prelabel, ("llmos annotate prelabel mood --model smollm2-135m-instruct",)),
        ("open", open_page, ("llmos annotate open mood",)),
        ("rm", remove, ("llmos annotate rm mood",)),
    ):
        group.command(name, epilog=examples(*lines))(command)
    beginning = (
        "llmos annotate create mood --label good --label bad",
        "llmos annotate import mood reviews.jsonl",
        "llmos annotate label mood",
    )
    root.add_typer(group, name="annotate", epilog=examples(*beginning))


@contextmanager
def opened(url: str | None, ref: str) -> Iterator[AnnotationHandle]:
    with LLMOS(url, notify=say) as llmos:
        yield llmos.annotations.get(ref)


def _plain(record: Any) -> Any:
    return msgspec.to_builtins(record)


def _pairs(given: list[str] | None, param: str) -> dict[str, str]:
    found = {}
    for one in given or []:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise InvalidValue(f"{one!r} is not of the form NAME=VALUE.", param=param)
        found[name] = value
    return found


def _file(path: Path, param: str) -> Path:
    if not path.is_file():
        raise NotFound(f"There is no file {path}.", param=param)
    return path


def create(
    name: Annotated[str, typer.Argument(help="Name of the project.")],
    *,
    task: Annotated[
        str | None,
        typer.Option(help="classification, multilabel, spans, preference, rating, text, translation or conversation."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    guidelines: Annotated[Path | None, typer.Option(help="A Markdown file that annotators see.")] = None,
    overlap: Annotated[int, typer.Option(min=1, max=50, help="Annotators of each item.")] = 1,
    order: Annotated[str, typer.Option(help="imported, random or uncertainty.")] = "imported",
    annotator: Annotated[list[str] | None, typer.Option(help="Who may annotate. May be repeated. Default: everybody.")] = None,
    reviewer: Annotated[list[str] | None, typer.Option(help="Who may adjudicate. May be repeated.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, of the task. May be repeated.")] = None,
    label_studio: Annotated[Path | None, typer.Option(help="Task and labels from a labelling configuration (XML).")] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Make a project."""
    config: dict[str, Any] = {}
    if label_studio is not None:
        from llmos.data.annotate.exchange.label_studio import project_of

        if task is not None or label:
            raise InvalidValue("--label-studio says the task and the labels.", param="task", hint="Leave --task and --label out.")
        task, config, columns = project_of(_file(label_studio, "label_studio").read_text())
        if columns:
            say("When you import: " + " ".join(f"--column {ours}={theirs}" for ours, theirs in columns.items()))
    config |= {"overlap": overlap, "order": order, "annotators": annotator or [], "reviewers": reviewer or []}
    if label:
        config["labels"] = list(label)
    if guidelines is not None:
        config["guidelines"] = _file(guidelines, "guidelines").read_text()
    if option:
        config["options"] = {name: _json_or_text(value) for name, value in _pairs(option, "option").items()}
    with LLMOS(url, notify=say) as llmos:
        made = llmos.annotations.create(name, task or "classification", **config)
    if json_output:
        print_json(_plain(made.record))
    else:
        say(f"{made.name} ({made.task}) is {made.id}. Next: llmos annotate import {made.name!r} FILE")


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def import_items(
    project: REF,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, JSON, CSV, Label Studio JSON or CoNLL.")],
    format: Annotated[str | None, typer.Option(help=f"{', '.join(IMPORTS)}. Default: by the file's name.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="OURS=THEIRS: text=body. May be repeated.")] = None,
    annotator: Annotated[str, typer.Option(help="Who made the tags of a CoNLL file.")] = "import",
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Add items. Importing the same file again adds what is new. Exit 1 when a row was left out."""
    _file(file, "FILE")
    with opened(url, project) as found:
        report = found.add_file(file, format=format, columns=_pairs(column, "column"), annotator=annotator)
    if json_output:
        print_json(_plain(report))
    else:
        said = f", {report.num_annotations} annotations" if report.num_annotations else ""
        say(f"{report.num_added} items added{said}, {report.num_known} were there, {report.num_problems} left out.")
        for one in report.problems[:SHOWN]:
            say(f"row {one.row}: {one.message}")
    if report.num_problems:
        raise typer.Exit(1)


def list_projects(url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """All projects, the newest first."""
    with LLMOS(url, notify=say) as llmos:
        found = [one.record for one in llmos.annotations.list()]
    if json_output:
        print_json({"annotations": _plain(found)})
        return
    rows = [[one.name, one.task, str(one.num_items), one.id, one.created_at[:10]] for one in found]
    table(
        ("NAME", "TASK", "ITEMS", "ID", "SINCE"), rows, empty="There is no annotation project. Make one: llmos annotate create NAME"
    )


def show(project: REF, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """How far a project is, and how far its annotators agree."""
    with opened(url, project) as found:
        progress, agreement = found.progress(), found.agreement()
    if json_output:
        print_json({"project": _plain(found.record), "progress": _plain(progress), "agreement": _plain(agreement)})
        return
    table(("WHAT", "VALUE"), progress_rows(found.record, progress), empty="")
    rows = agreement_rows(agreement)
    if rows:
        out.print()
        table(("AGREEMENT", "VALUE"), rows, empty="")


def next_items(
    project: REF,
    count: Annotated[int, typer.Option(min=1, max=50, help="So many.")] = 1,
    annotator: Annotated[str | None, WHO] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Reserve the next items, and show them."""
    with opened(url, project) as found:
        items = found.next(count, annotator=annotator)
    if json_output:
        print_json({"items": _plain(items)})
        return
    if not items:
        say("Nothing is left to do.")
    for one in items:
        out.print(shown_item(one), markup=False, highlight=False)


def label(
    project: REF,
    item: Annotated[int | None, typer.Argument(metavar="[ITEM]", min=1, help="One item; left out: one after the other.")] = None,
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", help="A label, a number, a text, or JSON.")] = None,
    annotator: Annotated[str | None, WHO] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Label in the terminal: the items one after the other, or one item at once with ITEM and VALUE."""
    if (item is None) != (value is None):
        raise InvalidValue("Give ITEM and VALUE, or neither.", param="VALUE")
    with opened(url, project) as found:
        if item is None or value is None:
            Desk(found, annotator).run(sys.stdin)
            return
        own = found.own(item, annotator=annotator)
        saved = found.save(own, value_of(found.record, value), annotator=annotator)
    if json_output:
        print_json(_plain(saved))
    else:
        say(f"Item {item} is saved ({saved.state}).")


def undo(
    project: REF,
    count: Annotated[int, typer.Option(min=1, max=50, help="So many saves.")] = 1,
    annotator: Annotated[str | None, WHO] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Take the own last saves back."""
    with opened(url, project) as found:
        back = found.undo(count, annotator=annotator)
    if json_output:
        print_json({"items": _plain(back)})
    else:
        say(f"Taken back: {', '.join(str(one.item) for one in back) or 'nothing; there was nothing'}.")


def adjudicate(
    project: REF,
    item: ITEM,
    value: VALUE,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    annotator: Annotated[str | None, WHO] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Decide where annotators differ. What they said stays beside it."""
    with opened(url, project) as found:
        decided = found.adjudicate(item, value_of(found.record, value), note=note, annotator=annotator)
    if json_output:
        print_json(_plain(decided))
    else:
        say(f"Item {item} is decided.")


def export(
    project: REF,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file. Default: stdout.")] = None,
    format: Annotated[str, typer.Option(help=", ".join(FORMATS))] = "annotations",
    url: Annotated[str | None, URL] = None,
) -> None:
    """Write what was annotated. Formats but annotations and label-studio have the items with a final value only."""
    with opened(url, project) as found:
        if output is None:
            for piece in found.text(format):
                sys.stdout.write(piece)
        else:
            found.export(output, format)
        progress = found.progress()
    if not format.startswith(("annotations", "label-studio")) and progress.num_open + progress.num_differing:
        told = f"{progress.num_open} of {progress.num_items} items are open, annotators differ on {progress.num_differing}"
        say(f"{told}; what has no final value yet is not in the export.")


def errors(
    project: REF,
    limit: Annotated[int, typer.Option(min=1, help="The most suspect so many.")] = 20,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Labels that are probably wrong, by confident learning over the pre-labels' probabilities."""
    with opened(url, project) as found:
        report = found.label_errors()
    if json_output:
        print_json(_plain(report) | {"errors": _plain(report.errors[:limit])})
        return
    rows = [
        [str(one.item), one.given, one.suggested, f"{one.margin:.3f}", str(one.data.get("text", ""))[:60]]
        for one in report.errors[:limit]
    ]
    table(("ITEM", "GIVEN", "RATHER", "MARGIN", "TEXT"), rows, empty=f"None of {report.num_items} labels looks wrong.")
    say(f"{len(report.errors)} of {report.num_items} labels are suspect; about {report.noise:.1%} are wrong.")


def prelabel(
    project: REF,
    model: Annotated[str, typer.Option("--model", "-m", help="Model or alias.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also items that have a pre-label.")] = False,
    uncertainty: Annotated[str, typer.Option(help="entropy or margin.")] = "entropy",
    prompt: Annotated[str, typer.Option(help="For the task text: what is asked, with {text} in it.")] = "{text}",
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the job.")] = False,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Let a model label the items first: suggestions, never counted as annotations. Runs as a job."""
    if not detach and url is None:
        say("The model labels; Ctrl-C leaves it to be resumed.")
    with opened(url, project) as found:
        fields = {"overwrite": overwrite, "uncertainty": uncertainty, "prompt": prompt}
        job = found.prelabel(model or current().default_model, **fields)
        result = None if detach else job.wait()
    if json_output:
        print_json({"job": job.id, "result": result})
    elif result is None:
        say(f"Job {job.id}. See: llmos logs -f {job.id}")
    else:
        say(f"{result['labelled']} items are pre-labelled by {result['model']}.")


def open_page(project: Annotated[str, typer.Argument(metavar="[PROJECT]")] = "", url: Annotated[str | None, URL] = None) -> None:
    """Print the address of the page to annotate with, on the server."""
    from urllib.parse import quote

    settings = current()
    base = (url or f"http://{settings.host}:{settings.port}").rstrip("/")
    out.print(f"{base}/annotate" + (f"#/{quote(project, safe='')}" if project else ""), markup=False, highlight=False)
    if url is None:
        say("It is there while a server runs: llmos serve")


def remove(project: REF, url: Annotated[str | None, URL] = None) -> None:
    """Forget a project, with its items, annotations and history."""
    with opened(url, project) as found:
        found.remove()
    say(f"{found.name} is removed.")

"""`llmos data`: recipes and the data sets they make, from the command line.

They work on this machine's home, whether a server runs or not, or on a server with `--url`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from llmos.cli.data_run import URL, run
from llmos.cli.data_text import diff_lines, row_text, shown, step_rows, why_lines
from llmos.cli.output import JSON, examples, human_bytes, out, print_json, printable, say, table
from llmos.errors import InvalidValue
from llmos.sdk.client import LLMOS
from llmos.sdk.data_base import DataCalls

REF = Annotated[str, typer.Argument(metavar="DATASET", help="name, its newest version, or name@ and the beginning of a version.")]
LIMIT = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="So many.")]
_HELP = {"help_option_names": ["-h", "--help"]}


def add_to(root: typer.Typer) -> None:
    from llmos.cli.data_convert import convert
    from llmos.cli.data_get import get

    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings=_HELP,
        help="Make data sets, and see what became of every row.",
    )
    for name, command, lines in (
        ("run", run, ("llmos data run mails.yaml", "llmos data run mails.yaml process.text_length.min_chars=100 --dry-run",
                      "llmos data run mails.yaml -o clean.jsonl.zst", "llmos data run mails.yaml --part 3/16")),
        ("list", list_datasets, ("llmos data list", "llmos data list --name mails --json")),
        ("show", show, ("llmos data show mails",)),
        ("head", head, ("llmos data head mails -n 3", """llmos data head mails --where 'n > 3 and language == "en"'""")),
        ("errors", errors, ("llmos data errors mails",)),
        ("report", report, ("llmos data report mails -o report.html", "llmos data report mails --json")),
        ("stats", stats, ("llmos data stats mails", "llmos data stats mails --json")),
        ("why", why, ("llmos data why mails.jsonl#123", "llmos data why mails.jsonl#123 --dataset mails@3fa9")),
        ("diff", diff, ("llmos data diff mails@3fa9 mails",)),
        ("lineage", lineage, ("llmos data lineage mails",)),
        ("export", export, ("llmos data export mails clean.jsonl.zst", "llmos data export mails out/ --format parquet")),
        ("convert", convert, ("llmos data convert chats.json -o chats.jsonl --to messages",)),
        ("verify", verify, ("llmos data verify mails",)),
        ("rm", remove, ("llmos data rm mails@3fa9",)),
        ("gc", gc, ("llmos data gc --dry-run", "llmos data gc --older-than 1d")),
        ("get", get, ("llmos data get", "llmos data get spam-assassin")),
        ("steps", steps, ("llmos data steps", "llmos data steps minhash_dedup")),
    ):  # fmt: skip
        group.command(name, epilog=examples(*lines))(command)
    beginning = ("llmos data run recipe.yaml --dry-run", "llmos data run recipe.yaml", "llmos data report NAME -o report.html")
    root.add_typer(group, name="data", epilog=examples(*beginning))


@contextmanager
def opened(url: str | None) -> Iterator[DataCalls]:
    with LLMOS(url, notify=say) as llmos:
        yield llmos._transport.data


def _print(lines: list[str]) -> None:
    for line in lines:
        out.print(printable(line), markup=False, highlight=False)


# -- versions ------------------------------------------------------------------------------------------------------------
def list_datasets(
    name: Annotated[str | None, typer.Option(help="Only the versions of this one.")] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """All data sets, the newest first."""
    with opened(url) as calls:
        found = calls.list(name)
    if json_output:
        print_json({"datasets": found})
        return
    rows = [
        [one["dataset"], f"{one['rows']:,}", human_bytes(one["bytes"]), str(one["errors"] or ""), one["created_at"][:16]]
        for one in found
    ]
    table(("DATASET", "ROWS", "SIZE", "ERRORS", "MADE"), rows, empty="There is no data set. Make one: llmos data run RECIPE")


def show(ref: REF, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """One data set: its columns, where it came from, and what every step did."""
    with opened(url) as calls:
        found = calls.show(ref)
    if json_output:
        print_json(found)
        return
    facts = {"dataset": found["dataset"], "version": found["version"], "made": found["created_at"], "rows": f"{found['rows']:,}",
             "size": human_bytes(found["bytes"]), "read": f"{found['read']:,}", "errors": f"{found['errors']:,}", "job": found["job_id"],
             "path": found.get("path", "")}  # fmt: skip
    _print([f"{name:<9}{value}" for name, value in facts.items() if value])
    _print(["", "Columns", *(f"  {name}: {kind}" for name, kind in found["columns"].items())])
    _print(["", "Made of", *(f"  {one['kind']} {one['ref']}  {human_bytes(one['size_bytes'])}" for one in found["sources"][:20])])
    rows = step_rows(found["steps"])
    if rows:
        out.print()
        table(("STEP", "IN", "DROPPED", "CHANGED", "OUT", "SECONDS", "DROPPED BY"), rows, empty="")


def verify(ref: REF, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """Read all its files, and compare them with the manifest. Exit 1 when one is damaged."""
    with opened(url) as calls:
        found = calls.verify(ref)
    if json_output:
        print_json(found)
    else:
        say(f"{found['dataset']} is whole.")


def remove(
    refs: Annotated[list[str], typer.Argument(metavar="DATASET...", help="name@ and the beginning of a version, or a name.")],
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Forget versions, with their files. A name alone means its newest version."""
    with opened(url) as calls:
        gone = [calls.remove(ref)["dataset"] for ref in refs]
    if json_output:
        print_json({"removed": gone})
    else:
        _print(gone)


def gc(
    older_than: Annotated[str, typer.Option(help="Age: 7d, 12h, 30m. Nothing is taken away while a run goes on.")] = "7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Give back what runs keep for the next run: computed parts, decisions, fetched files, leftovers. Data sets stay."""
    from llmos.data.kept import collect, seconds_of
    from llmos.settings import current

    try:
        age_s = seconds_of(older_than)
    except ValueError:
        raise InvalidValue(f"{older_than!r} is no age.", param="older_than", hint="Such as 7d, 12h or 30m.") from None
    freed = collect(current(), older_than_s=age_s, dry_run=dry_run)
    if json_output:
        print_json({"freed_bytes": freed.size_bytes, "removed": freed.num, "dry_run": dry_run})
    else:
        say(f"{human_bytes(freed.size_bytes)} in {freed.num:,} places {'would be' if dry_run else 'are'} free.")


# -- rows ----------------------------------------------------------------------------------------------------------------
def head(
    ref: REF,
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="So many rows.")] = 5,
    where: Annotated[str, typer.Option(help="Only rows for which this is true: n > 3 and language == 'en'.")] = "",
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """The first rows, each as JSON on a line."""
    import json

    with opened(url) as calls:
        found = calls.rows(ref, offset=0, limit=n, where=where)
    if json_output:
        print_json(found)
        return
    _print([json.dumps(row, ensure_ascii=False) for row in found["rows"]])
    if found["total"] > len(found["rows"]):
        say(f"{len(found['rows'])} of {found['total']:,} rows.")


def errors(ref: REF, limit: LIMIT = 50, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """Rows that could not be used, with their places in the files and the reasons."""
    with opened(url) as calls:
        found = calls.ledger(ref, {"action": "error"}, offset=0, limit=limit)
    if json_output:
        print_json(found)
        return
    rows = [[one["_id"], one["signal"], shown(one["detail"], 100), shown(one["row"] or "", 60)] for one in found["lines"]]
    table(("ROW", "KIND", "WHY", "AS IT WAS"), rows, empty="Every row could be used.")
    if found["total"] > len(rows):
        say(f"{len(rows)} of {found['total']:,}; more with -n.")


def export(
    ref: REF,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file, a folder ending in /, or s3://bucket/key.")],
    format: Annotated[str, typer.Option(help="jsonl, json, csv, parquet, arrow, txt, … Default: by the ending.")] = "auto",
    ids: Annotated[bool, typer.Option("--ids", help="Keep the ids of the rows, in the column _id.")] = False,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Write the rows in another format."""
    with opened(url) as calls:
        made = calls.export(ref, path, format=format, ids=ids)
    if json_output:
        print_json(made)
        return
    for note in made["notes"]:
        say(note)
    say(f"{made['rows']:,} rows in {made['path']} ({made['format']}, {human_bytes(made['bytes'])}).")


# -- what happened -------------------------------------------------------------------------------------------------------
def report(
    ref: REF,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="An HTML file that needs nothing else.")] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """The report: rows through the steps, what was measured, samples of what went and why. With -o a page, else the main figures."""
    from llmos.infra.files import write_atomic

    with opened(url) as calls:
        found = calls.report(ref)
        if output is not None:
            write_atomic(output, calls.page(ref))
    if json_output:
        print_json(found)
        return
    rows = [
        [one["step"], f"{one['rows']:,}", one["action"], one["signal"], row_text((one["lines"] or [{}])[0].get("row"))]
        for one in found["samples"]
    ]
    table(("STEP", "ROWS", "WHAT", "SIGNAL", "SUCH AS"), rows, empty="No row was dropped.")
    say(f"{found['rows']:,} of {found['read']:,} rows kept, {found['num_errors']:,} could not be used.")
    say(f"The page is {output}." if output is not None else f"As a page: llmos data report {found['dataset']} -o report.html")


def stats(ref: REF, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """What is in it, column by column: lengths, ranges, the most frequent values, repeats."""
    from llmos.cli.data_stats import column_rows, value_lines

    with opened(url) as calls:
        found = calls.statistics(ref)
    if json_output:
        print_json(found)
        return
    head = ("COLUMN", "TYPE", "NULL", "DISTINCT", "REPEATED", "OF", "MIN", "25 %", "50 %", "75 %", "MAX", "MEAN")
    table(head, column_rows(found["columns"]), empty="There is no row.")
    _print(value_lines(found["columns"]))
    say(f"{found['rows']:,} rows" + ("." if found["exact"] else "; quantiles are of 65,536 of them, drawn evenly."))


def why(
    row: Annotated[str, typer.Argument(metavar="ROW", help="Id of a row: mails.jsonl#123.")],
    dataset: Annotated[str | None, typer.Option(help="In this one. Default: the newest that knows the row.")] = None,
    no_replay: Annotated[bool, typer.Option("--no-replay", help="Only the ledger; do not run its steps again.")] = False,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Everything that happened to one row, and its text before and after every step."""
    with opened(url) as calls:
        found = calls.why(row, dataset, replay=not no_replay)
    if json_output:
        print_json(found)
        return
    from llmos.data.why import sentences

    _print(why_lines(found, sentences(found)))


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A data set.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    count: Annotated[int, typer.Option("--examples", min=0, max=100, help="Of each kind.")] = 3,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """What is different: rows, columns, recipes, and why rows of one are not in the other."""
    with opened(url) as calls:
        found = calls.diff(first, second, examples=count)
    if json_output:
        print_json(found)
    else:
        _print(diff_lines(found))


def lineage(ref: REF, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """What it was made of, and what was made of it."""
    with opened(url) as calls:
        found = calls.lineage(ref)
    if json_output:
        print_json(found)
        return
    rows = [[one["child"], one["relation"], one["parent"]] for one in (*found["ancestors"], *found["descendants"])]
    table(("THIS", "HOW", "WAS MADE OF"), rows, empty="Nothing is known of where it came from.")


def steps(
    name: Annotated[str | None, typer.Argument(metavar="[STEP]", help="One step, with all its parameters.")] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """What a recipe can do."""
    with opened(url) as calls:
        found = calls.steps(name)
    if json_output:
        print_json({"steps": found})
    elif name is None:
        table(("STEP", "KIND", "WHAT IT DOES"), [[one["step"], one["kind"], one["about"]] for one in found], empty="")
    else:
        _print(_told(found[0]))


def _told(step: dict[str, Any]) -> list[str]:
    model = ", asks a model" if step["needs_model"] else ""
    found = [f"{step['step']} ({step['kind']}{model})", f"  {step['about']}", ""]
    for one in step["params"]:
        default = "required" if one["required"] else f"default {shown(one.get('default'), 60)}"
        found += [f"  {one['param']}: {one['type']}, {default}", *([f"      {one['about']}"] if one["about"] else [])]
    return found

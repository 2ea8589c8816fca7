"""`llmos audit`: who changed what, who was refused, and whether the log is as it was written."""

from __future__ import annotations

from typing import Annotated

import typer

from llmos.cli.desk import opened
from llmos.cli.keys import URL
from llmos.cli.output import JSON, examples, print_json, say, table
from llmos.errors import CorruptFile


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="The audit log: who changed what, and who was refused.",
    )
    group.command("list", epilog=examples("llmos audit list", "llmos audit list --action keys. --limit 20 --json"))(list_rows)
    group.command("verify", epilog=examples("llmos audit verify"))(verify)
    app.add_typer(group, name="audit", epilog=examples("llmos audit list", "llmos audit verify"))


def list_rows(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 50,
    before: Annotated[int | None, typer.Option(min=1, help="Only rows with a smaller number.")] = None,
    actor: Annotated[str, typer.Option(help="Only of this key's id, or user:NAME.")] = "",
    action: Annotated[str, typer.Option(help="Only actions that begin so: keys., jobs.cancel.")] = "",
    project: Annotated[str, typer.Option(help="Only of this project.")] = "",
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Rows of the log, the newest first."""
    with opened(url) as desk:
        found = desk.audit({"limit": limit, "before": before, "actor": actor, "action": action, "project": project})
    if json_output:
        print_json({"rows": found})
        return
    rows = [
        [str(row["seq"]), row["at"][:19], row["actor"] or "-", row["action"], row["outcome"], row["target"] or _why(row)]
        for row in found
    ]
    table(("ROW", "WHEN (UTC)", "WHO", "WHAT", "OUTCOME", "TARGET"), rows, empty="Nothing was changed, and nobody refused.")


def _why(row: dict[str, object]) -> str:
    """Of a refusal, which has no target."""
    details = row["details"]
    assert isinstance(details, dict)
    times = f" ({details['times']} more)" if "times" in details else ""
    return f"{details.get('reason', '')}{times}"


def verify(url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """Read every row and compare its hash, and the newest with the seal beside the database. Exit 1 when something is wrong."""
    with opened(url) as desk:
        found = desk.verify()
    if json_output:
        print_json(found)
    elif found["ok"]:
        say(f"{found['num_rows']} rows, all as they were written.")
    if not found["ok"]:
        raise CorruptFile(f"The audit log was changed. {found['problem']}", hint="Rows before that one are as they were written.")

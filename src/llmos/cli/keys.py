"""`llmos keys`, `llmos projects`: who may use a server, for what and how much.

They work on this machine's home, whether a server runs or not (one that runs knows of a change within a second), or on a server
with `--url`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from llmos.access.base import DEFAULT_PROJECT, Scope
from llmos.access.keys import GRACE_S, PRIORITIES
from llmos.cli.desk import opened
from llmos.cli.output import JSON, examples, out, print_json, say, table
from llmos.errors import InvalidValue
from llmos.settings import parse_bytes, parse_seconds

KEY = Annotated[str, typer.Argument(metavar="KEY", help="Id of the key, or its name.")]
URL = typer.Option("--url", help="Ask the server at this address, with LLMOS_API_KEY, instead of this machine's database.")
PROJECT = typer.Option("--project", help="Only of this project.")
_HELP = {"help_option_names": ["-h", "--help"]}


def add_to(app: typer.Typer) -> None:
    keys = typer.Typer(no_args_is_help=False, rich_markup_mode=None, context_settings=_HELP)
    keys.callback(invoke_without_command=True)(root)
    for name, command, lines in (
        ("list", list_keys, ("llmos keys list", "llmos keys list --project shop --json")),
        (
            "create",
            create,
            (
                "llmos keys create alice",
                "llmos keys create shop --project shop --scope inference --scope jobs --expires 90d",
                "llmos keys create guest --requests-per-minute 20 --tokens-per-day 100000 --priority normal",
            ),
        ),
        ("show", show, ("llmos keys show alice",)),
        ("revoke", revoke, ("llmos keys revoke alice",)),
        ("rotate", rotate, ("llmos keys rotate alice", "llmos keys rotate alice --grace 1h")),
        ("usage", usage, ("llmos keys usage", "llmos keys usage alice --days 30 --json")),
    ):
        keys.command(name, epilog=examples(*lines))(command)
    app.add_typer(keys, name="keys", epilog=examples("llmos keys", "llmos keys create alice", "llmos keys create --help"))
    projects = typer.Typer(no_args_is_help=False, rich_markup_mode=None, context_settings=_HELP)
    projects.callback(invoke_without_command=True)(list_projects)
    projects.command("set", epilog=examples("llmos projects set shop --log-contents"))(set_project)
    app.add_typer(projects, name="projects", epilog=examples("llmos projects", "llmos projects set shop --no-log-contents"))


def root(context: typer.Context, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """API keys: who may use a server, for what and how much. Without a command: the list."""
    if context.invoked_subcommand is None:
        _print_keys(url, None, json_output)
    elif url or json_output:
        raise InvalidValue("--url and --json come after the command.", param="url" if url else "json")


def list_keys(
    project: Annotated[str | None, PROJECT] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Keys, the newest first, also those that are over."""
    _print_keys(url, project, json_output)


def _print_keys(url: str | None, project: str | None, json_output: bool) -> None:
    with opened(url) as desk:
        found = desk.keys(project)
    if json_output:
        print_json({"keys": found})
        return
    rows = [
        [key["name"], key["id"], key["project"], ",".join(key["scopes"]), key["state"], (key["last_used_at"] or "never")[:10]]
        for key in found
    ]
    table(("NAME", "ID", "PROJECT", "SCOPES", "STATE", "USED"), rows, empty="No keys. Make one with: llmos keys create NAME")


def create(
    name: Annotated[str, typer.Argument(help="What you call it; whose it is.")],
    project: Annotated[str, typer.Option(help="Project it belongs to; a new name makes one.")] = DEFAULT_PROJECT,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help=f"What it is for: {', '.join(Scope)}. May be repeated. Default: inference.")
    ] = None,
    priority: Annotated[str, typer.Option(help=f"The most urgent class of its work: {', '.join(PRIORITIES)}.")] = PRIORITIES[0],
    expires: Annotated[str | None, typer.Option(help="How long it is valid: 90d, 12h. Default: until it is revoked.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=0, help="Quota.")] = None,
    requests_per_day: Annotated[int | None, typer.Option(min=0, help="Quota.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=0, help="Quota, of prompts and answers.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(min=0, help="Quota, of prompts and answers.")] = None,
    jobs: Annotated[int | None, typer.Option(min=0, help="Quota of unfinished jobs.")] = None,
    disk: Annotated[str | None, typer.Option(help="Quota of its files: 10GB, 500MB.")] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Make a key. It is printed once; only a digest of it is kept. From the first key on, a server asks everybody for one."""
    quotas: dict[str, Any] = {
        "requests_per_minute": requests_per_minute,
        "requests_per_day": requests_per_day,
        "tokens_per_minute": tokens_per_minute,
        "tokens_per_day": tokens_per_day,
        "jobs": jobs,
        "disk_bytes": None if disk is None else _parsed(parse_bytes, disk, "disk"),
    }
    fields: dict[str, Any] = {
        "name": name,
        "project": project,
        "scopes": scope or [Scope.INFERENCE.value],
        "priority": priority,
        "quotas": {quota: limit for quota, limit in quotas.items() if limit is not None},
        "expires_in_s": None if expires is None else _parsed(parse_seconds, expires, "expires"),
    }
    with opened(url) as desk:
        made = desk.create(fields)
    _print_new(made, json_output)


def _parsed(parse: Any, text: str, param: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        raise InvalidValue(f"{param} is {text!r}.", param=param, hint="Write 90d, 12h or 30m; 10GB or 500MB.") from None


def _print_new(made: dict[str, Any], json_output: bool) -> None:
    if json_output:
        print_json(made)
        return
    say(f"{made['id']} ({made['name']}, project {made['project']}, {', '.join(made['scopes'])}). Keep it: it is not shown again.")
    out.print(made["key"], markup=False, highlight=False)


def show(key: KEY, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """What a key may do, until when, and its quotas. The key itself cannot be shown."""
    with opened(url) as desk:
        found = desk.show(key)
    if json_output:
        print_json(found)
        return
    quotas = found.pop("quotas")
    found |= {f"quota {name.replace('_', ' ')}": limit for name, limit in quotas.items() if limit is not None}
    facts = {name.replace("_", " "): value for name, value in found.items() if value is not None}
    table(
        ("WHAT", "VALUE"), [[name, ", ".join(v) if isinstance(v, list | tuple) else str(v)] for name, v in facts.items()], empty=""
    )


def revoke(key: KEY, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False) -> None:
    """Make a key invalid, for ever. Running servers refuse it within a second."""
    with opened(url) as desk:
        found = desk.revoke(key)
    if json_output:
        print_json(found)
        return
    say(f"{found['id']} ({found['name']}) is revoked.")


def rotate(
    key: KEY,
    grace: Annotated[str, typer.Option(help="How long the old key stays valid: 1h, 0s.")] = f"{GRACE_S / 3600:.0f}h",
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Replace a key by a new one with the same rights and quotas. The new one is printed once."""
    with opened(url) as desk:
        made = desk.rotate(key, float(_parsed(parse_seconds, grace, "grace")))
    _print_new(made, json_output)


def usage(
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Id or name of one key. Default: all.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Days of UTC to look back, today included.")] = 7,
    project: Annotated[str | None, PROJECT] = None,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Requests and tokens by day, key and model."""
    first = (datetime.now(UTC).date() - timedelta(days=days - 1)).isoformat()
    with opened(url) as desk:
        found = desk.usage({"key": key, "project": project, "first_day": first})
    if json_output:
        print_json({"usage": found})
        return
    counts = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")
    rows = [[row["day"], row["key_id"] or "(local)", row["model"], *(str(row[name]) for name in counts)] for row in found]
    table(("DAY", "KEY", "MODEL", "REQUESTS", "PROMPT", "CACHED", "ANSWER"), rows, empty="Nothing was used.")


def list_projects(
    context: typer.Context, url: Annotated[str | None, URL] = None, json_output: Annotated[bool, JSON] = False
) -> None:
    """Projects: whom keys, models, files and jobs belong to. One is there from its first use on."""
    if context.invoked_subcommand is not None:
        return
    with opened(url) as desk:
        found = desk.projects()
    if json_output:
        print_json({"projects": found})
        return
    rows = [[one["name"], str(one["keys"]), "yes" if one["log_contents"] else "no", one["created_at"][:10]] for one in found]
    table(("PROJECT", "KEYS", "CONTENTS LOGGED", "SINCE"), rows, empty="")


def set_project(
    name: Annotated[str, typer.Argument(help="The project; a new name makes one.")],
    log_contents: Annotated[bool, typer.Option(help="Whether its requests and answers go into the request log.")],
    url: Annotated[str | None, URL] = None,
) -> None:
    """Change the settings of a project."""
    with opened(url) as desk:
        found = desk.set_project(name, log_contents)
    say(f"Requests and answers of {found['name']} are {'' if found['log_contents'] else 'not '}logged.")

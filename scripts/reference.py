"""Writes the generated pages: docs/cli.md from the commands, docs/errors.md from the error tree, docs/settings.md from Settings,
docs/steps.md from the steps of data recipes.

In: the installed package. Out: four files, or with --check an exit of 1 when they differ from what is committed.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import typer
from pydantic import AliasChoices
from pydantic_core import PydanticUndefined
from typer.core import TyperGroup

from llmos import errors
from llmos.cli.main import app
from llmos.data.service import step_list
from llmos.settings import Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"


def cli_page() -> str:
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="llmos", **command.context_settings)
    parts = [
        "# Command line\n\nAnswers go to stdout, everything else to stderr. Exit 0 success, 1 failure, 2 usage, 130 interrupted.\n"
    ]
    parts += _sections(command, context, "llmos")
    return "".join(parts)


def _sections(command: object, context: typer.Context, path: str) -> list[str]:
    """The help of every command of a group, and of the commands of its groups."""
    assert isinstance(command, TyperGroup)
    parts = []
    for name in sorted(command.list_commands(context)):
        child = command.get_command(context, name)
        assert child is not None
        if child.hidden:
            continue
        inner = typer.Context(child, info_name=name, parent=context, terminal_width=100, max_content_width=100)
        heading = "#" * (1 + len(path.split()))
        parts.append(f"\n{heading} {path} {name}\n\n```text\n{child.get_help(inner).strip()}\n```\n")
        if isinstance(child, TyperGroup):
            parts += _sections(child, inner, f"{path} {name}")
    return parts


def errors_page() -> str:
    tree = inspect.getdoc(errors) or ""
    lines = ["# Errors\n\n```text\n", tree, "\n```\n\n| error | HTTP status | code |\n|---|---|---|\n"]
    for name, kind in sorted(vars(errors).items()):
        if isinstance(kind, type) and issubclass(kind, errors.LLMOSError):
            lines.append(f"| `{name}` | {kind.http_status} | `{kind.code}` |\n")
    return "".join(lines)


def settings_page() -> str:
    lines = [
        "# Settings\n\n",
        "Everything that the environment decides, read once when a process starts. An empty value counts as not set; a wrong one\n",
        "is an error that names the variable. Options of a command and arguments in Python come before it.\n\n",
        "| variable | default | meaning |\n|---|---|---|\n",
    ]
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        assert isinstance(alias, AliasChoices) and field.description, name
        variables = " or ".join(f"`{choice}`" for choice in alias.choices)
        lines.append(f"| {variables} | {_default(name, field.default)} | {field.description} |\n")
    lines += [
        "\nThe network is reached through `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`. Certificates are checked against\n",
        "those of the system, or `SSL_CERT_FILE` and `SSL_CERT_DIR`. The default of `LLMOS_HOME` follows `XDG_DATA_HOME`.\n",
    ]
    return "".join(lines)


def _default(name: str, value: object) -> str:
    """As it is written in the environment; fields that end in _s are seconds."""
    if value is None or value == () or value is PydanticUndefined:
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}` (seconds)" if isinstance(value, float) and name.endswith("_s") else f"`{value}`"


def steps_page() -> str:
    """Of data recipes, from their own words."""
    lines = [
        "# Steps of data recipes\n\n",
        "Filters drop rows; mappers change them or add columns; expanders make several rows of one; gatherers decide over all rows;\n",
        "comparers measure rows against other data; regroupers make rows of several. The limits that stand here are defaults.\n",
        "How recipes are written is on the page [Data](data.md).\n",
    ]
    for step in step_list():
        model = ", asks a model" if step["needs_model"] else ""
        lines.append(f"\n## {step['step']}\n\n{step['kind'].capitalize()}{model}. {_plain(step['about'])}\n\n")
        if step["params"]:
            lines.append("| parameter | default | meaning |\n|---|---|---|\n")
        for one in step["params"]:
            default = "required" if one["required"] else f"`{json.dumps(one.get('default'), ensure_ascii=False)}`"
            lines.append(f"| `{one['param']}` | {_cell(default)} | {_cell(_plain(one['about']))} |\n")
    return "".join(lines)


def _plain(text: str) -> str:
    """On one line; what Markdown would take for HTML escaped, outside of code."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part.replace("<", "&lt;") if place % 2 == 0 else part for place, part in enumerate(parts))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES = {"cli.md": cli_page, "errors.md": errors_page, "settings.md": settings_page, "steps.md": steps_page}


def main() -> None:
    stale = []
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text)
    if stale:
        sys.stderr.write(f"{'stale' if '--check' in sys.argv else 'written'}: {', '.join(stale)}\n")
    sys.exit(1 if stale and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()

"""Writes the generated pages: docs/cli.md from the commands, docs/errors.md from the error tree.

In: the installed package. Out: two files, or with --check an exit of 1 when they differ from what is committed.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import typer
from typer.core import TyperGroup

from llmos import errors
from llmos.cli.main import app

DOCS = Path(__file__).resolve().parent.parent / "docs"


def cli_page() -> str:
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="llmos", **command.context_settings)
    parts = [
        "# Command line\n\nAnswers go to stdout, everything else to stderr. Exit 0 success, 1 failure, 2 usage, 130 interrupted.\n"
    ]
    assert isinstance(command, TyperGroup)
    for name in sorted(command.list_commands(context)):
        child = command.get_command(context, name)
        assert child is not None
        if child.hidden:
            continue
        inner = typer.Context(child, info_name=name, parent=context, terminal_width=100, max_content_width=100)
        parts.append(f"\n## llmos {name}\n\n```text\n{child.get_help(inner).strip()}\n```\n")
    return "".join(parts)


def errors_page() -> str:
    tree = inspect.getdoc(errors) or ""
    lines = ["# Errors\n\n```text\n", tree, "\n```\n\n| error | HTTP status | code |\n|---|---|---|\n"]
    for name, kind in sorted(vars(errors).items()):
        if isinstance(kind, type) and issubclass(kind, errors.LLMOSError):
            lines.append(f"| `{name}` | {kind.http_status} | `{kind.code}` |\n")
    return "".join(lines)


PAGES = {"cli.md": cli_page, "errors.md": errors_page}


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

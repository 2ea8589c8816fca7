"""`llmos data get`: public data that ships in packages, by name."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from llmos.cli.output import JSON, human_bytes, out, print_json, say, table
from llmos.errors import Conflict
from llmos.settings import current


def get(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="What to bring. Without it: what there is.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Copy it into this new folder, too.")] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Bring public data of the catalogue to this machine, checked, or list it. Recipes read it as `path: get:NAME`."""
    if name is None:
        _list(json_output)
        return
    from llmos.data.catalogue import entry, get

    found, settings = entry(name), current()
    if not found.place(settings).is_dir():
        say(f"{found.about}. Licence: {found.licence}.")
        say(f"{human_bytes(found.size_bytes)} from {found.package} {found.version} ({found.kind}).")
    folder = get(name, settings, progress=_progress if sys.stderr.isatty() else None)
    if output is not None:
        if output.exists():
            raise Conflict(f"{output} is there already.", param="output", hint="Name a folder that is not.")
        shutil.copytree(folder, output)
        folder = output
    if json_output:
        print_json({"name": name, "path": str(folder), "source": {"path": f"get:{name}"}, "licence": found.licence})
        return
    out.print(str(folder), markup=False, highlight=False, soft_wrap=True)
    say(f"In a recipe: sources: [{{path: get:{name}}}]" if output is None else f"In a recipe: sources: [{{path: {folder}}}]")


def _list(json_output: bool) -> None:
    from llmos.data.catalogue import entries

    known, settings = entries().values(), current()
    if json_output:
        listed = [one.model_dump(mode="json") | {"here": one.place(settings).is_dir()} for one in known]
        print_json({"data": listed})
        return
    rows = [
        [one.name, human_bytes(one.size_bytes), "yes" if one.place(settings).is_dir() else "", one.licence, one.about]
        for one in known
    ]
    table(("NAME", "DOWNLOAD", "HERE", "LICENCE", "WHAT IT IS"), rows, empty="")


def _progress(done: int, total: int) -> None:
    sys.stderr.write(f"\r{human_bytes(done)} of {human_bytes(total)}" + ("\n" if done >= total else ""))

"""`llmos data convert`: a file of chats, pairs, labels or translations in another of the shapes that people use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from llmos.cli.output import JSON, print_json, say
from llmos.errors import InvalidValue
from llmos.settings import current


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, JSON, CSV, Parquet …, compressed or not.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where it goes; the ending says the format.")],
    to: Annotated[
        str, typer.Option(help="messages, sharegpt, alpaca, prompt-completion, preference, kto, text, classification, …")
    ],
    shape: Annotated[str | None, typer.Option("--from", help="The shape that the rows have. Default: as it looks.")] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Convert also what the new shape cannot hold, without it.")] = False,
    option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, of the conversion: template, answer … May be repeated.")
    ] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Rows of one shape to another, without loss. Exit 1 when rows could not be converted; they are listed beside the output."""
    from llmos.data.conversion import convert_file

    made = convert_file(file, output, to=to, shape=shape, lossy=lossy, settings=current(), **_options(option or []))
    if json_output:
        print_json(msgspec.to_builtins(made, enc_hook=str))
    else:
        if made.why:
            say(f"The rows are {made.shape}: {made.why}.")
        if made.carried:
            say(f"Taken along: {', '.join(made.carried)}.")
        for what, count in made.lost.items():
            say(f"Lost in {count:,} rows: {what}.")
        say(f"{made.num_rows:,} rows in {output}.")
        if made.errors is not None:
            say(f"{made.num_problems:,} rows could not be converted; {made.errors} says why.")
    if made.num_problems:
        raise typer.Exit(1)


def _options(given: list[str]) -> dict[str, Any]:
    import yaml

    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise InvalidValue(f"{one!r} is not of the form NAME=VALUE.", param="option")
        found[name] = yaml.safe_load(value) if name != "template" else value
    return found

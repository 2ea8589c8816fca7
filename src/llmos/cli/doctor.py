"""`llmos doctor`: what this machine has, what LLMOS can use of it, what is wrong and how to mend it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from llmos.cli.output import JSON, examples, human_bytes, out, print_json
from llmos.settings import current


def add_to(app: typer.Typer) -> None:
    app.command("doctor", epilog=examples("llmos doctor", "llmos doctor --json --no-measure | jq .problems"))(doctor)


def doctor(
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Measure memory bandwidth and GEMM speed (2 s).")] = True,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Look at this machine and say what to mend.

    Cores, memory, speed, GPU, engines, hubs, disk. Exit 1 when something needs mending.
    """
    from llmos.infra.doctor import EngineFact, Report
    from llmos.infra.doctor import doctor as look

    report: Report = look(current(), engines=[EngineFact(**fact) for fact in _engines()], measure=measure)
    if json_output:
        print_json(report.to_dict())
    else:
        _show(report)
    if report.problems:
        raise typer.Exit(1)


def _engines() -> list[dict[str, Any]]:
    """Every registered backend as the doctor's record wants it."""
    from llmos.engine.base import backends
    from llmos.plugins import load_plugins

    load_plugins()
    found = []
    for name, backend in backends:
        seen = backend.availability()
        found.append({"name": name, "installed": seen.ok, "version": seen.version, "install": "" if seen.ok else seen.install})
    return found


def _show(report: Any) -> None:
    for section in report.sections:
        out.print(Text(section.title, style="bold"))
        width = max((len(name) for name, _, _ in section.facts), default=0)
        for name, value, why in section.facts:
            line = Text(f"  {name.ljust(width)}  {_value(name, value)}")
            out.print(line + Text(f"  ({why})" if why else "", style="dim"))
    if not report.problems:
        out.print(Text("No problems.", style="green"))
    for problem in report.problems:
        out.print(Text("Problem: ", style="bold red") + Text(problem.what))
        out.print(Text(f"  {problem.fix}"))


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith("bytes"):
        return human_bytes(value)
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)

"""`llmos pull`, `list`, `show`, `rm`, `alias`, `import`, `verify`, `gc`: the model library of this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from llmos.cli.jobs import submit_pull
from llmos.cli.output import JSON, examples, human_bytes, out, print_json, progress_bar, say, table
from llmos.errors import CorruptFile, InvalidValue, NotFound
from llmos.library.base import ModelCard
from llmos.library.catalogue import CatalogueEntry
from llmos.library.library import Library
from llmos.settings import current

NAME = Annotated[str, typer.Argument(help="Name, alias, or a source such as hf:org/repo (docs: model names).")]


def add_to(app: typer.Typer) -> None:
    for name, command, lines in (
        ("pull", pull, ("llmos pull qwen2.5-coder-1.5b-instruct", "llmos pull hf:HuggingFaceTB/SmolLM2-360M-Instruct")),
        ("list", list_models, ("llmos list", "llmos list --all", "llmos list --json | jq -r '.models[].name'")),
        ("show", show, ("llmos show smollm2-135m-instruct", "llmos show smollm2-135m-instruct --engines --measure")),
        ("rm", remove, ("llmos rm gpt2", "llmos rm my-model:3f2a91c0d4e5")),
        (
            "alias",
            alias,
            ("llmos alias", 'llmos alias prod smollm2-135m-instruct --reason "good enough"', "llmos alias prod --rollback"),
        ),
        ("import", import_model, ("llmos import ./my-model --name my-model", "llmos import ollama:llama3.2")),
        ("verify", verify, ("llmos verify", "llmos verify smollm2-135m-instruct")),
        ("gc", collect, ("llmos gc --dry-run", "llmos gc")),
    ):
        app.command(name, epilog=examples(*lines))(command)


def _library() -> Library:
    return Library.open(current())


def pull(
    name: NAME,
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="I have read and accept the model's terms.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Make it a job and return its id; see: llmos jobs.")] = False,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Download a model, or what is missing of it. Interrupt it at any time; it goes on where it was."""
    if detach:
        job = submit_pull(name, accept_licence=accept_licence)
        if json_output:
            print_json(_plain(job))
        else:
            out.print(job.id, markup=False, highlight=False)
        return
    with progress_bar() as report:
        card = _library().pull(name, accept_licence=accept_licence, progress=report)
    _show_result(card, json_output)


def import_model(
    path: Annotated[str, typer.Argument(help="A model file, a folder, or ollama:NAME.")],
    name: Annotated[str | None, typer.Option(help="Name in the library. Default: that of the file or folder.")] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Take a model from this disk into the library."""
    library = _library()
    with progress_bar() as report:
        if path.startswith("ollama:"):
            card = library.import_ollama(path, as_name=name)
        else:
            card = library.import_path(Path(path.removeprefix("file:")), name=name, progress=report)
    _show_result(card, json_output)


def _show_result(card: ModelCard, json_output: bool) -> None:
    if json_output:
        print_json(_plain(card))
        return
    say(f"{card.ref} is ready: {human_bytes(card.size_bytes)}, {card.family.value}, licence {card.licence}.")
    out.print(card.name, markup=False, highlight=False)


def list_models(
    catalogue: Annotated[bool, typer.Option("--all", help="Also what the catalogue offers.")] = False,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Models of this machine. `llmos show NAME` says more of one."""
    library = _library()
    cards = library.list()
    here = {card.name for card in cards}
    offers = [entry for entry in library.catalogue if entry.name not in here] if catalogue else []
    if json_output:
        found: dict[str, Any] = {"models": [_plain(card) for card in cards]}
        print_json(found | {"catalogue": [_plain(entry) for entry in offers]} if catalogue else found)
        return
    cells = [_row(card) for card in cards]
    if catalogue:  # which of them are here matters more than how much each can read
        rows = [[name, "yes", *rest, licence] for name, *rest, _, licence in cells]
        rows += [[name, "", *rest, licence] for name, *rest, _, licence in map(_row, offers)]
        table(("NAME", "HERE", "FAMILY", "SIZE", "PARAMS", "LICENCE"), rows, empty="The catalogue is empty.")
        return
    columns = ("NAME", "FAMILY", "SIZE", "PARAMS", "CONTEXT", "LICENCE")
    table(columns, cells, empty="No models yet. See what there is with: llmos list --all")


def _row(model: ModelCard | CatalogueEntry) -> list[str]:
    """What fits 80 columns; `llmos show` has the rest."""
    size, context = human_bytes(model.size_bytes), str(model.context_length or "-")
    return [model.name, model.family.value, size, _count(model.parameters), context, model.licence]


def _count(parameters: int) -> str:
    if parameters >= 10**9:
        return f"{parameters / 1e9:.1f} B"
    return f"{parameters / 1e6:.0f} M" if parameters else "-"


def show(
    name: NAME,
    engines: Annotated[
        bool, typer.Option("--engines", help="Which engines run it, how fast each is here, which is chosen.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="With --engines: measure them first, if that was not done yet.")
    ] = False,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """All that is known of a model, here or in the catalogue."""
    library = _library()
    if engines:
        _show_engines(library, name, measure, json_output)
        return
    try:
        resolved = library.resolve(name)
    except NotFound:
        entry = library.catalogue.find(name)
        if entry is None:
            raise
        facts = _plain(entry)
        _print_facts(
            facts if json_output else {k: v for k, v in facts.items() if k not in ("parts", "file", "sha256")}, json_output
        )
        say(f"It is not on this machine. Get it with: llmos pull {entry.name}")
        return
    if resolved.notice:
        say(resolved.notice)
    _print_facts(_plain(resolved.card) | {"folder": str(resolved.folder)}, json_output)


def _show_engines(library: Library, name: str, measure: bool, json_output: bool) -> None:
    from llmos.engine.pool import Pool

    pool = Pool(library.settings, library, inline=False, notify=say)
    try:
        found = pool.explain(name, measure=measure)
    finally:
        pool.close()
    if json_output:
        print_json(_plain(found))
        return
    rows = [
        [
            f"{seen.backend}/{seen.variant}",
            f"{seen.prefill_tok_s:.0f}",
            f"{seen.decode_tok_s:.1f}",
            f"{seen.batch_tok_s:.1f}",
            f"{seen.load_s:.1f}",
            human_bytes(seen.memory_bytes),
            seen.why,
        ]
        for seen in (found.table.measurements if found.table else ())
    ]
    if found.table:
        rows += [[name, *["-"] * 5, why] for name, why in found.table.skipped.items()]
    columns = ("ENGINE", "PREFILL t/s", "DECODE t/s", "BATCH t/s", "LOAD s", "MEMORY", "OUTPUT")
    table(columns, rows, empty="Not measured on this machine yet: add --measure.")
    if found.table and found.table.reference:
        say(f"Compared with {found.table.reference}; agreeing means: {found.table.tolerance}.")
    chosen = [[work, choice.name, choice.why] for work, choice in found.choices.items()]
    table(("WORK", "CHOSEN", "WHY"), chosen, empty="No installed engine runs it.")
    if found.others:
        table(("NOT USED", "WHY"), [[engine, why] for engine, why in found.others.items()], empty="")


def _print_facts(facts: dict[str, Any], json_output: bool) -> None:
    if json_output:
        print_json(facts)
        return
    files = facts.pop("files", None) or []
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        text = ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else value
        if text not in (None, "", 0, {}):
            shown = f"{text:,} ({human_bytes(text)})" if name.endswith("_bytes") and isinstance(text, int) else str(text)
            out.print(f"{name.replace('_', ' '):<{width}}  {shown}", markup=False, highlight=False)
    for file in files:
        out.print(f"  {file['path']}  {file['size_bytes']:,} bytes  sha256 {file['sha256']}", markup=False, highlight=False)


def remove(names: Annotated[list[str], typer.Argument(help="Models to remove; name:version for one version.")]) -> None:
    """Remove models and the files that no other model needs."""
    library = _library()
    for name in names:
        card = library.show(name)
        freed_bytes = library.remove(f"{card.name}:{card.version}")
        say(f"{human_bytes(freed_bytes)} freed.")
        out.print(card.ref, markup=False, highlight=False)


def alias(
    name: Annotated[str | None, typer.Argument(help="The alias. Without it: all of them.")] = None,
    target: Annotated[str | None, typer.Argument(help="What it means from now on. Without it: its history.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Back to what it meant before.")] = False,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Show and move names that stand for models."""
    library = _library()
    if sum((target is not None, remove, rollback)) > 1:
        raise InvalidValue("A target, --remove and --rollback exclude each other.", param="alias")
    if name is None:
        if remove or rollback:
            raise InvalidValue("Which alias?", param="alias")
        _list_aliases(library, json_output)
    elif remove:
        library.unalias(name, reason)
        say(f"{name} is no alias any more.")
    elif rollback:
        say(f"{name} means {library.rollback_alias(name)} again.")
    elif target is not None:
        library.alias(name, target, reason)
        say(f"{name} means {target} now.")
    else:
        _show_history(library, name, json_output)


def _list_aliases(library: Library, json_output: bool) -> None:
    own = library.aliases()
    built_in = {item.name: item.target for item in library.catalogue.stand_ins.values() if item.name not in own}
    if json_output:
        print_json({"aliases": own, "built_in": built_in})
        return
    rows = [[name, target, "yours"] for name, target in own.items()]
    default = library.settings.default_model
    rows += [[name, default if target == "default" else target, "built in"] for name, target in built_in.items()]
    table(("ALIAS", "MEANS", "SET BY"), rows, empty="No aliases.")


def _show_history(library: Library, name: str, json_output: bool) -> None:
    moves = library.alias_history(name)
    if json_output:
        print_json({"history": [_plain(move) for move in moves]})
        return
    rows = [[move.at[:19], move.target or "(removed)", move.actor, move.reason] for move in moves]
    table(("WHEN", "TARGET", "WHO", "WHY"), rows, empty="")


def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models to check. Default: all.")] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Read every file and compare its SHA-256. Exit 1 when one is damaged."""
    library = _library()
    wanted = names or [f"{card.name}:{card.version}" for card in library.list()]
    found = {name: library.verify(name) for name in wanted}
    bad = sum(not verdict.ok for verdicts in found.values() for verdict in verdicts)
    if json_output:
        print_json({name: [_plain(verdict) for verdict in verdicts] for name, verdicts in found.items()})
    else:
        rows = [[name[:60], verdict.path, "ok" if verdict.ok else verdict.problem] for name in found for verdict in found[name]]
        table(("MODEL", "FILE", "VERDICT"), rows, empty="No models yet.")
    if bad:
        raise CorruptFile(f"{bad} files are damaged.", hint="Fetch the models again: llmos pull NAME")


def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Remove files of no model and unfinished downloads."""
    report = _library().gc(dry_run=dry_run)
    if json_output:
        print_json(_plain(report))
        return
    counts = f"{len(report.blobs)} files, {len(report.folders)} folders, {len(report.partials)} unfinished downloads"
    say(f"{'Would remove' if dry_run else 'Removed'} {counts}.")
    sys.stdout.write(f"{report.freed_bytes}\n" if not sys.stdout.isatty() else f"{human_bytes(report.freed_bytes)}\n")


def _plain(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found

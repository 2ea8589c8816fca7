"""The `llmos` command: puts the groups together and turns errors into exit codes.

Exit 0 success, 1 failure, 2 usage, 130 interrupted. A user's mistake never shows a traceback; LLMOS_LOG_LEVEL=DEBUG shows it for
errors that LLMOS did not expect.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from llmos import __version__
from llmos.cli import annotate, audit, batch, chat, data, doctor, jobs, keys, models, run, serve, top
from llmos.cli.output import examples, fail, say
from llmos.errors import InvalidValue, LLMOSError

app = typer.Typer(
    name="llmos",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One program for the whole life of a language model.",
    epilog=examples(
        'llmos run "Why is the sky blue?"    fetches a small model the first time',
        "llmos chat                          talk with it",
        "llmos list --all                    what else there is",
        "llmos serve                         the same for any OpenAI client",
        "llmos run --help                    options and examples of a command",
    ),
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"llmos {__version__}")
        raise typer.Exit


for group in (run, chat, batch, models, serve, jobs, top, data, annotate, keys, audit, doctor):
    group.add_to(app)


def main() -> None:
    """The console script."""
    try:
        sys.exit(app(prog_name="llmos", standalone_mode=False) or 0)
    except LLMOSError as error:
        fail(error)
        sys.exit(2 if isinstance(error, InvalidValue) else 1)
    except KeyboardInterrupt:
        say("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe left
        sys.stderr.close()
        sys.exit(1)
    except Exception as problem:  # noqa: BLE001 - the last line before the user: no traceback for anybody
        sys.exit(_foreign(problem))


def _foreign(problem: Exception) -> int:
    """Usage errors of the parser are printed its way; anything else is ours to mend, so it says where to tell us."""
    from llmos.settings import current

    if hasattr(problem, "show") and hasattr(problem, "exit_code"):
        problem.show()
        return int(problem.exit_code)
    if type(problem).__name__ in ("Abort", "Exit"):
        return int(getattr(problem, "exit_code", 130))
    if current().log_level == "DEBUG":
        raise problem
    say(f"Unexpected {type(problem).__name__}: {problem}")
    say("This is a defect of LLMOS. LLMOS_LOG_LEVEL=DEBUG shows where it happened; please report it.")
    return 1


if __name__ == "__main__":
    main()

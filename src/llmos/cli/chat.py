"""`llmos chat`: a conversation in the terminal, with history, several-line input and commands that start with a slash."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from llmos.cli.output import URL, examples, progress_bar, say
from llmos.cli.run import MODEL, statistics
from llmos.errors import InvalidValue, LLMOSError
from llmos.sdk.client import LLMOS
from llmos.sdk.model import Model
from llmos.sdk.options import Options, sampling_from
from llmos.settings import Settings, current
from llmos.types import Message

if TYPE_CHECKING:  # imported where a terminal is opened: every other command starts faster without it
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyPressEvent

ROLES = ("system", "user", "assistant")
HELP = """\
/help            this list
/system TEXT     instructions for the conversation (/system alone removes them)
/set NAME VALUE  an option of generation: temperature, top_p, max_tokens, seed, …  (/set alone shows them)
/model NAME      go on with another model
/clear           forget the conversation
/undo            take back the last question and its answer
/save FILE       write the conversation as JSON messages
/load FILE       read one
/quit            leave (also Ctrl-D)
Enter sends; Alt-Enter (or Esc, then Enter) starts a new line. Ctrl-C stops an answer."""


@dataclass
class Conversation:
    """The state of a chat and what each command does to it; knows nothing of the terminal, so tests can drive it."""

    llmos: LLMOS
    model: Model
    messages: list[Message] = field(default_factory=list)
    system: str = ""
    options: Options = field(default_factory=lambda: Options(max_tokens=1024, temperature=0.7))

    def prompt(self, question: str) -> list[Message]:
        head = [Message(role="system", content=self.system)] if self.system else []
        return [*head, *self.messages, Message(role="user", content=question)]

    def command(self, line: str) -> str:
        """Carries out a slash command. Returns what to say. Raises EOFError to leave, InvalidValue for a mistake."""
        name, _, rest = line[1:].partition(" ")
        action = getattr(self, f"_do_{name}", None)
        if action is None:
            raise InvalidValue(f"There is no command /{name}.", hint="/help lists them.")
        said: str = action(rest.strip())
        return said

    def _do_help(self, _: str) -> str:
        return HELP

    def _do_quit(self, _: str) -> str:
        raise EOFError

    def _do_system(self, text: str) -> str:
        self.system = text
        return "Instructions set." if text else "Instructions removed."

    def _do_clear(self, _: str) -> str:
        self.messages.clear()
        return "Conversation forgotten."

    def _do_undo(self, _: str) -> str:
        if not self.messages:
            return "There is nothing to take back."
        del self.messages[-2:]
        return "Taken back."

    def _do_model(self, name: str) -> str:
        if not name:
            return f"The model is {self.model.card.ref}."
        with progress_bar() as report:
            self.model = self.llmos.load_model(name, on_progress=report)
        return f"Going on with {self.model.card.ref}."

    def _do_set(self, text: str) -> str:
        name, _, value = text.partition(" ")
        if not name:
            return ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = value
        changed = cast("Options", {**self.options, name: parsed})
        sampling_from(changed)
        self.options = changed
        return f"{name} is {parsed!r}."

    def _do_save(self, path: str) -> str:
        if not path:
            raise InvalidValue("/save needs a file name.")
        turns = [{"role": message.role, "content": message.content} for message in self.prompt("")[:-1]]
        try:
            Path(path).expanduser().write_text(json.dumps({"messages": turns}, ensure_ascii=False, indent=2) + "\n")
        except OSError as problem:
            raise InvalidValue(f"{path} cannot be written: {problem.strerror}.") from None
        return f"{len(turns)} messages written to {path}."

    def _do_load(self, path: str) -> str:
        try:
            turns = json.loads(Path(path).expanduser().read_text())["messages"]
            read = [Message(role=turn["role"], content=turn["content"]) for turn in turns]
            if strange := [turn.role for turn in read if turn.role not in ROLES]:
                raise ValueError(f"there is no role {strange[0]!r}, only {', '.join(ROLES)}")
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise InvalidValue(f"{path} could not be read as a conversation: {problem}") from None
        self.system = next((message.content for message in read if message.role == "system"), "")
        self.messages = [message for message in read if message.role != "system"]
        return f"{len(self.messages)} messages read."


def add_to(app: typer.Typer) -> None:
    ends = examples("llmos chat", 'llmos chat -m qwen2.5-coder-1.5b-instruct --system "Answer in one sentence."')
    app.command("chat", epilog=ends)(chat)


def chat(
    model: Annotated[str | None, MODEL] = None,
    system: Annotated[str, typer.Option(help="Instructions for the conversation.")] = "",
    engine: Annotated[str | None, typer.Option(help="Use this engine instead of the measured choice.")] = None,
    url: Annotated[str | None, URL] = None,
) -> None:
    """Talk with a model. /help inside lists the commands."""
    settings = current()
    with LLMOS(url, notify=say) as llmos:
        with progress_bar() as report:
            loaded = llmos.load_model(model or settings.default_model, engine=engine, on_progress=report)
        say(f"{loaded.card.ref}. /help lists the commands, Ctrl-D leaves.")
        _loop(Conversation(llmos, loaded, system=system), _reader(settings))


def _reader(settings: Settings) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    settings.home.mkdir(parents=True, exist_ok=True)
    history = FileHistory(str(settings.home / "chat_history"))
    return PromptSession(">>> ", multiline=True, key_bindings=keys, history=history, prompt_continuation="... ")


def _loop(conversation: Conversation, reader: PromptSession[str]) -> None:
    while True:
        try:
            line = reader.prompt() if sys.stdin.isatty() else input()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if line.startswith("/"):
                say(conversation.command(line))
            elif line.strip():
                _answer(conversation, line)
        except EOFError:
            return
        except LLMOSError as error:
            say(f"{error.message} {error.hint}".strip())


def _answer(conversation: Conversation, question: str) -> None:
    started = time.monotonic()
    stream = conversation.model.stream(messages=conversation.prompt(question), **conversation.options)
    first = started
    try:
        for piece in stream:
            first = time.monotonic() if first == started else first
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        stream.cancel()
        say(" (stopped)")
    sys.stdout.write("\n")
    conversation.messages += [Message(role="user", content=question), Message(role="assistant", content=stream.text)]
    say(statistics(stream, started, first))

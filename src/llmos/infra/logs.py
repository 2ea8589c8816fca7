"""One line of JSON for each event, on standard error or in a file, with no secret and no raw control character in it (P28).

    log = get_logger("library")
    log.info("model pulled", extra={"model": name, "size_bytes": size})

JSON is written in ASCII: line ends, terminal escapes and text-direction marks of a hostile name arrive as \\u escapes.
Prompts and answers are logged only when LLMOS_LOG_CONTENTS is on (server/gate.py).
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from llmos.infra.files import make_dir
from llmos.infra.redact import redact, redact_value
from llmos.settings import Settings

ROOT = "llmos"
MAX_TEXT_CHARS = 16_000
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JSONFormatter(logging.Formatter):
    """The only formatter of our sinks, so that nothing goes round the redaction."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": _text(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                event[redact(name)] = redact_value(value, name)
        if record.exc_info:
            event["exception"] = _text(self.formatException(record.exc_info))
        return json.dumps(event, ensure_ascii=True, default=str)


def _text(text: str) -> str:
    """Redacted; a text too long for a log line says how much was left out."""
    text = redact(text)
    left = len(text) - MAX_TEXT_CHARS
    return text if left <= 0 else f"{text[:MAX_TEXT_CHARS]} … ({left:,} more characters)"


def configure(settings: Settings, *, file: Path | None = None, stream: TextIO | None = None) -> None:
    """Sends everything at the settings' level and above, from LLMOS and its libraries (these from WARNING on), to `file` or
    `stream` (default: standard error). Calling it again replaces the sink."""
    handler: logging.Handler
    if file is not None:
        make_dir(file.parent)
        handler = logging.FileHandler(file, encoding="ascii")
    else:
        handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONFormatter())
    handler.set_name(ROOT)
    root = logging.getLogger()
    shutdown()
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[settings.log_level]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger(ROOT).setLevel(level)


def shutdown() -> None:
    """Takes our sink away again and closes it."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if handler.get_name() == ROOT]:
        root.removeHandler(handler)
        handler.close()


def get_logger(name: str) -> logging.Logger:
    """The logger of a part: get_logger("engine") is `llmos.engine`."""
    return logging.getLogger(name if name == ROOT or name.startswith(f"{ROOT}.") else f"{ROOT}.{name}")

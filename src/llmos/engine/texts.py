"""Tokenizers and chat templates of models, read beside the engine's loading and kept for the next session of the same model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmos.library.base import ModelCard, Resolved
from llmos.text.base import ChatTemplate, Tokenizer

MAX_TEXTS = 8  # models whose texts are kept
Text = tuple[Tokenizer | None, ChatTemplate | None]


class Texts:
    """Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[str, Text] = {}
        self._lock = threading.Lock()

    def beside(self, resolved: Resolved) -> Callable[[], Text]:
        """Begins to read; the result waits for it."""
        if resolved.card.version in self._known:
            return lambda: self.get(resolved)
        thread = ThreadPoolExecutor(1, "llmos-text")
        reading = thread.submit(self.get, resolved)
        thread.shutdown(wait=False)
        return reading.result

    def get(self, resolved: Resolved) -> Text:
        version = resolved.card.version
        known = self._known.get(version)
        if known is None:
            known = load_text(resolved.card, resolved.folder)
            with self._lock:
                self._known[version] = known
                for old in [*self._known][:-MAX_TEXTS]:
                    del self._known[old]
        return known


def load_text(card: ModelCard, folder: Path) -> Text:
    """Tokenizer and chat template of a local model; (None, None) for a remote one."""
    if card.format == "remote":
        return None, None
    from llmos.text.load import load_chat_template, load_tokenizer

    return load_tokenizer(folder), load_chat_template(folder)

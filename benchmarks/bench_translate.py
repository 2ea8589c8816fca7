"""How well Qwen2.5-Coder-1.5B translates through LLMOS: en-fr and zh-en on paragraphs of the Debian handbook, chrF and BLEU.

In: nothing. Out: a table, benchmarks/results/translate.json. Apertium is measured beside it where Debian has the pair; Debian 12 has
neither en-fr nor zh-en, and the result says so. The other yardstick is the text left untranslated.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from typing import Any

from benchmarks.corpora import handbook_pairs
from benchmarks.report import finish, load, print_table
from llmos import LLMOS

PAIRS = {"en-fr": ("fr-FR", "en", "fr", "eng-fra"), "zh-en": ("zh-CN", "zh", "en", "zho-eng")}


def apertium(pair: str, sources: list[str]) -> list[str] | str:
    """Apertium's translations, or why there are none."""
    if shutil.which("apertium") is None:
        return f"Debian 12 has no Apertium data for {pair} (apt-cache search apertium)"
    modes = subprocess.run(["apertium", "-l"], capture_output=True, text=True, check=True).stdout.split()
    if pair not in modes:
        return f"Apertium is installed without {pair}: Debian 12 has no data for it"
    return [subprocess.run(["apertium", pair], input=text, capture_output=True, text=True, check=True).stdout for text in sources]


def scores(hypotheses: list[str], references: list[str]) -> dict[str, float]:
    """chrF2 and BLEU of sacrebleu at its defaults (the target is French or English: tokeniser 13a)."""
    import sacrebleu

    chrf, bleu = sacrebleu.corpus_chrf(hypotheses, [references]), sacrebleu.corpus_bleu(hypotheses, [references])
    return {"chrf": round(chrf.score, 2), "bleu": round(bleu.score, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--paragraphs", type=int, default=100)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with LLMOS() as llmos:
        model = llmos.load_model(options.model)
        for pair, (folder, source, target, data) in PAIRS.items():
            texts = handbook_pairs(folder, options.paragraphs)
            flip = source != "en"
            sources = [other if flip else english for english, other in texts]
            references = [english if flip else other for english, other in texts]
            before, started = load(), time.monotonic()
            translated = model.translate(sources, target, source)
            seconds = time.monotonic() - started
            rival = apertium(data, sources)
            results[pair] = {
                "paragraphs": len(texts),
                "llmos": scores(list(translated), references) | {"seconds": round(seconds, 1)},
                "untranslated": scores(sources, references),
                "apertium": rival if isinstance(rival, str) else scores(rival, references),
                "load_before": before,
                "example": {"source": sources[0], "translation": translated[0], "reference": references[0]},
            }
    rows = [
        (pair, result[who]["chrf"], result[who]["bleu"], who)
        for pair, result in results.items()
        for who in ("llmos", "untranslated", "apertium")
        if not isinstance(result[who], str)
    ]
    print_table(("pair", "chrF", "BLEU", "system"), rows)
    finish("translate", {"model": options.model, "results": results})


if __name__ == "__main__":
    main()

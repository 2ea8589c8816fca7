"""Trains the two small models that the tests' hub serves: a BERT with a language-model head and an English-French T5.

    python scripts/train_tiny_models.py FOLDER      # FOLDER/google-bert/bert-base-uncased, FOLDER/google-t5/t5-base

They are real models in the layout of the repositories whose names they bear in the tests, made in about a minute on two cores
from sentences that this script composes, so nothing is downloaded and the same machine makes the same files again. What they
say is of no use to anybody: they are 1,000 times smaller than their namesakes.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SEED = 7
BERT = "google-bert/bert-base-uncased"
T5 = "google-t5/t5-base"
PREFIX = "translate English to French: "

# (English, French): subjects with their form of "to be", things with their gender, adjectives by gender.
SUBJECTS = [("this", "ceci"), ("that", "cela")]
THINGS = [
    ("book", "livre", 0), ("film", "film", 0), ("example", "exemple", 0), ("text", "texte", 0), ("dog", "chien", 0),
    ("house", "maison", 1), ("translation", "traduction", 1), ("car", "voiture", 1), ("machine", "machine", 1), ("answer", "réponse", 1),
]  # fmt: skip
ADJECTIVES = [
    ("great", "génial", "géniale", 1), ("wonderful", "merveilleux", "merveilleuse", 1), ("good", "bon", "bonne", 1),
    ("excellent", "excellent", "excellente", 1), ("positive", "positif", "positive", 1), ("bad", "mauvais", "mauvaise", 0),
    ("terrible", "terrible", "terrible", 0), ("awful", "affreux", "affreuse", 0), ("boring", "ennuyeux", "ennuyeuse", 0),
    ("negative", "négatif", "négative", 0),
]  # fmt: skip
FIXED = [
    ("This is an example of machine translation.", "Ceci est un exemple de traduction automatique."),
    ("The house is wonderful.", "La maison est merveilleuse."),
    ("Good morning.", "Bonjour."),
    ("Thank you.", "Merci."),
]


def pairs() -> list[tuple[str, str]]:
    """Every parallel sentence of the grammar, in a fixed order."""
    found = list(FIXED)
    for (thing, chose, gender), (adjective, *forms, _) in itertools.product(THINGS, ADJECTIVES):
        article, one = ("La", "une") if gender else ("Le", "un")
        found.append((f"The {thing} is {adjective}.", f"{article} {chose} est {forms[gender]}."))
        found += [
            (f"{this.title()} is a {adjective} {thing}.", f"{ceci.title()} est {one} {chose} {forms[gender]}.")
            for this, ceci in SUBJECTS
        ]
    return found


def reviews() -> list[str]:
    """English sentences in which words of one mood stand together."""
    moods = [[word for word, *_, mood in ADJECTIVES if mood == wanted] for wanted in (0, 1)]
    found = ["this is an example of text classification ."]
    for mood, (thing, _, _) in itertools.product(moods, THINGS):
        for first, second in itertools.permutations(mood, 2):
            found.append(f"the {thing} was {first} . it is {second} .")
            found.append(f"a {first} {thing} . this text is {second} .")
    return found


def _tokenizer_config(folder: Path, **values: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(values, indent=2))


def _bert_tokenizer(folder: Path) -> Any:
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator([*reviews(), *(english for english, _ in pairs())], vocab_size=600, min_frequency=1)
    tokenizer.save_model(str(folder))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    _tokenizer_config(folder, tokenizer_class="BertTokenizer", do_lower_case=True, model_max_length=128, **names)
    from tokenizers.processors import TemplateProcessing

    cls, sep = (("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]")))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[cls, sep]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def train_bert(folder: Path, steps: int = 300) -> Any:
    """Masked-language-model training; returns the last loss."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(SEED)
    tokenizer = _bert_tokenizer(folder)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=tokenizer.get_vocab_size(), hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=128, max_position_embeddings=128, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip
    mask = tokenizer.token_to_id("[MASK]")
    rows = [encoding.ids for encoding in tokenizer.encode_batch(reviews())]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for batch in _batches(rows, steps, 32):
        ids, attention = _padded(torch, batch, pad=0)
        hidden = (torch.rand(ids.shape) < 0.25) & (ids > 4)  # ids up to 4 are special tokens
        labels = torch.where(hidden, ids, -100)
        loss = model(input_ids=torch.where(hidden, mask, ids), attention_mask=attention, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return loss.item()


def _t5_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>")  # noqa: S106 - a token of the vocabulary
    tokenizer.train_from_iterator([text for pair in pairs() for text in (PREFIX + pair[0], pair[1])], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    _tokenizer_config(folder, tokenizer_class="PreTrainedTokenizerFast", model_max_length=512, extra_ids=0, **names)
    return tokenizer


def train_t5(folder: Path, steps: int = 500) -> Any:
    """Teacher-forced training on the parallel sentences; returns the last loss."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(SEED)
    tokenizer = _t5_tokenizer(folder)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=tokenizer.get_vocab_size(), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0,
            decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, n_positions=512,
        )
    )  # fmt: skip
    rows = [(tokenizer.encode(PREFIX + english).ids, tokenizer.encode(french).ids) for english, french in pairs() + FIXED * 10]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
    for batch in _batches(rows, steps, 32):
        ids, attention = _padded(torch, [source for source, _ in batch], pad=0)
        labels, _ = _padded(torch, [target for _, target in batch], pad=-100)
        loss = model(input_ids=ids, attention_mask=attention, labels=labels).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    _add_task_prefixes(model)
    model.save_pretrained(folder)
    return loss.item()


def _add_task_prefixes(model: Any) -> None:
    """What the config of t5-base says of its tasks."""
    model.config.task_specific_params = {"translation_en_to_fr": {"prefix": PREFIX, "max_length": 300, "num_beams": 4}}


def _batches(rows: list[Any], steps: int, size: int) -> Iterator[list[Any]]:
    chooser = random.Random(SEED)  # noqa: S311 - not a secret
    for _ in range(steps):
        yield chooser.sample(rows, size)


def _padded(torch: Any, rows: list[list[int]], pad: int) -> tuple[Any, Any]:
    """[B, T] ids and attention mask."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    attention = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, attention


def main(target: Path) -> None:
    import torch

    torch.set_num_threads(1)  # models this small only wait for each other on more
    for name, train in ((BERT, train_bert), (T5, train_t5)):
        folder = target / name
        folder.mkdir(parents=True, exist_ok=True)
        loss = train(folder)
        sys.stderr.write(f"{name}: last loss {loss:.4f}\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))

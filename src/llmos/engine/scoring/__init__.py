"""`predict(text, labels)` on any family of model: one question, one file for each way to answer it.

    head         a classification head that knows the labels
    entailment   a head trained on inference: does the text entail "It is about {label}."?
    cloze        a masked model fills the label into a sentence
    similarity   an encoder compares the text with the label
    likelihood   a causal or sequence-to-sequence model tells how likely each label is as the answer

`predict` takes the first that suits the model and the labels, and the result says which and why.
"""

from llmos.engine.scoring import cloze, entailment, head, likelihood, similarity  # each registers itself
from llmos.engine.scoring.base import Question, Strategy, strategies
from llmos.engine.scoring.predict import predict

__all__ = ["Question", "Strategy", "cloze", "entailment", "head", "likelihood", "predict", "similarity", "strategies"]

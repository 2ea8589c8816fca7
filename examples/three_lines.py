"""The three lines of the README, as they stand. They need a model hub for BERT and T5 (see docs/offline.md without one)."""

from llmos import LLMOS

llmos = LLMOS()
print(llmos.load_model("gpt-3").generate_text(prompt="The world is"))
print(llmos.load_model("bert-base-uncased").predict("This is an example of text classification.", ["positive", "negative"]))
print(llmos.load_model("t5-base").translate("This is an example of machine translation.", "fr"))

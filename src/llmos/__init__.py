"""LLMOS: one program for the whole life of a language model.

from llmos import LLMOS
llmos = LLMOS()
print(llmos.load_model("gpt-3").generate_text(prompt="The world is"))
"""

from __future__ import annotations

__version__ = "0.1.0"

"""Language tools: sentences, words, parts of speech, named entities and language id, for lists of texts.

Importing this registers the analysers that LLMOS brings; a plugin adds its own to `analysers` the same way.
"""

from llmos.text.nlp import english, jieba, lac, plain, spacy_en  # noqa: F401  - they register themselves
from llmos.text.nlp.base import Analyser, AnalyserKind, Analysis, Availability, Entity, Token, analysers
from llmos.text.nlp.identify import LanguageIdentifier, identifier, identify
from llmos.text.nlp.tools import LanguageTools

__all__ = [
    "Analyser",
    "AnalyserKind",
    "Analysis",
    "Availability",
    "Entity",
    "LanguageIdentifier",
    "LanguageTools",
    "Token",
    "analysers",
    "identifier",
    "identify",
]

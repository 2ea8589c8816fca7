"""Models behind an OpenAI-compatible endpoint: LLMOS passes text on and does not know what computes the answer.

backend.py   which cards, and what they can be asked
engine.py    requests over the network, one thread each; embeddings
body.py      a request as the JSON that endpoints read                 (pure)
events.py    the events of a streamed answer as chunks                 (pure)
"""

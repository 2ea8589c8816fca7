"""The `llamacpp` engine: every GGUF architecture of llama.cpp, through the library inside the xllamacpp wheel.

The wheel offers an HTTP-like server. It loses the ids of tokens that end inside a character, cannot score a prompt, opens a
port and takes the process's signals, so LLMOS drives the C interface beneath it instead:

    backend.py    what is installed, what it runs, how it is loaded
      engine.py   the Engine: submit, score, embed; one thread owns the context
        scheduler.py   which sequence computes what in the next step, and which cells of the cache belong to whom (no C here)
        scoring.py     log-probabilities of continuations, prefixes shared
        sampling.py    from logits to the next token
          context.py   model, context and batch as objects
            binding.py the C functions, and the check that this build lays out its records as we write them
"""

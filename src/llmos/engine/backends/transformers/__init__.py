"""Models run by torch and transformers: every architecture, and the reference that other engines are compared with.

backend.py    what is installed, which cards run and how; `load` imports the rest of this package (torch comes with it)
loading.py    files -> a torch model, complete or refused
thread.py     the one thread that owns a loaded model
encoder.py    embed, classify, tag, fill_mask             (pooling.py, batching.py)
generator.py  submit: the step loop for causal.py and seq2seq.py   (rows.py, kv.py, sampling.py, constraints.py, beams.py)
scoring.py    log-probabilities of given continuations
adapters.py   LoRA
"""

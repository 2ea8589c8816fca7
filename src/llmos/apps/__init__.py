"""Use cases: what people do with models, built on the engine and usable from every surface."""

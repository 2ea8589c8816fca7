"""The engines LLMOS brings: one module or package each, registered under its name in `engine.base.backends`.

Importing a backend's module imports no heavy library; that happens in `load`.
"""

"""What LLMOS brings itself. Importing this registers it, exactly as a plugin's module would (llmos/plugins.py)."""

from __future__ import annotations

from llmos.data import jobs as data_jobs  # noqa: F401  - kind of jobs
from llmos.engine.backends.llamacpp import backend as llamacpp  # noqa: F401  - engine
from llmos.engine.backends.openvino import backend as openvino  # noqa: F401  - engine
from llmos.engine.backends.remote import backend as remote  # noqa: F401  - engine
from llmos.engine.backends.transformers import backend as transformers  # noqa: F401  - engine
from llmos.library import jobs as library_jobs  # noqa: F401  - kinds of jobs
from llmos.library.sources import file, huggingface, modelscope, ollama, pypi, url  # noqa: F401  - model sources
from llmos.server import annotation_prelabel  # noqa: F401  - kind of jobs
from llmos.server.batch import kind as batch_kind  # noqa: F401  - kind of jobs

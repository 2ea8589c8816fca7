"""Model file formats. Importing this registers those that LLMOS brings; plugins add theirs to `formats`."""

from __future__ import annotations

from llmos.library.formats import ctranslate2, gguf, onnx, openvino, peft, safetensors
from llmos.library.formats.base import FileFormat, Inspection, formats

__all__ = ["FileFormat", "Inspection", "ctranslate2", "formats", "gguf", "onnx", "openvino", "peft", "safetensors"]

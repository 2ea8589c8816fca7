"""Token vectors to one vector a text, as the model's own sentence-transformers files say (modules.json and its folders).

Without such files the mean over the tokens, normalised to length one, is taken: the usual way to use a plain encoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmos.errors import EngineError

# B texts, T tokens, D width. A step takes token vectors or pooled ones: see `load_pooling`.
_MODES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": lambda hidden_BTD, mask_BT: hidden_BTD[:, 0],
    "lasttoken": lambda hidden_BTD, mask_BT: hidden_BTD[torch.arange(len(mask_BT)), mask_BT.sum(1) - 1],
    "max": lambda hidden_BTD, mask_BT: hidden_BTD.masked_fill(~mask_BT[..., None], -torch.inf).amax(1),
    "mean": lambda hidden_BTD, mask_BT: (hidden_BTD * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True),
    "mean_sqrt_len": lambda hidden_BTD, mask_BT: (hidden_BTD * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True).sqrt(),
}
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Tanh": torch.tanh,
    "Identity": lambda x: x,
    "ReLU": torch.relu,
    "GELU": torch.nn.functional.gelu,
}


def load_pooling(folder: Path) -> Callable[[Tensor, Tensor], Tensor]:
    """(hidden [B,T,D] float32, mask [B,T] bool, padding on the right) -> [B,D']. Raises EngineError for a step not known here."""
    listed = folder / "modules.json"
    if not listed.exists():
        return lambda hidden_BTD, mask_BT: _normalised(_MODES["mean"](hidden_BTD, mask_BT))
    pool: Callable[[Tensor, Tensor], Tensor] | None = None
    after: list[Callable[[Tensor], Tensor]] = []
    for module in json.loads(listed.read_text("utf-8")):
        kind, path = module["type"].rpartition(".")[2], folder / module["path"]
        if kind == "Pooling":
            pool = _pooling(json.loads((path / "config.json").read_text("utf-8")))
        elif kind == "Normalize":
            after.append(_normalised)
        elif kind == "Dense":
            after.append(_dense(path))
        elif kind != "Transformer":
            raise EngineError(f"modules.json asks for the step {module['type']!r}, which this engine does not know.")
    if pool is None:
        raise EngineError("modules.json names no pooling step, so there is no vector per text.")
    return lambda hidden_BTD, mask_BT: _apply(after, pool(hidden_BTD, mask_BT))


def _apply(steps: list[Callable[[Tensor], Tensor]], pooled_BD: Tensor) -> Tensor:
    for step in steps:
        pooled_BD = step(pooled_BD)
    return pooled_BD


def _pooling(config: dict[str, Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """Old files have one flag a mode, new ones `pooling_mode`; several modes are joined side by side, in this order."""
    stated = config.get("pooling_mode")
    names = [stated] if isinstance(stated, str) else list(stated or [])
    modes = names or [mode for flag, mode in _FLAGS.items() if config.get(flag)]
    unknown = [mode for mode in modes if mode not in _MODES]
    if unknown or not modes:
        raise EngineError(f"The model's pooling {unknown or 'is not stated'}: this engine knows {', '.join(_MODES)}.")
    return lambda hidden_BTD, mask_BT: torch.cat([_MODES[mode](hidden_BTD, mask_BT) for mode in modes], dim=1)


def _dense(path: Path) -> Callable[[Tensor], Tensor]:
    from safetensors.torch import load_file

    config = json.loads((path / "config.json").read_text("utf-8"))
    activation = _ACTIVATIONS.get(config.get("activation_function", "torch.nn.modules.activation.Tanh").rpartition(".")[2])
    if activation is None:
        raise EngineError(f"The dense step of the model uses {config['activation_function']!r}, which this engine does not know.")
    weights = {name: tensor.float() for name, tensor in load_file(path / "model.safetensors").items()}
    return lambda pooled_BD: activation(torch.nn.functional.linear(pooled_BD, weights["linear.weight"], weights.get("linear.bias")))


def _normalised(pooled_BD: Tensor) -> Tensor:
    return torch.nn.functional.normalize(pooled_BD, dim=1)

"""LoRA adapters (Hu et al. 2021, PEFT layout) on one loaded model: any number known, one active in a pass.

The step loop keeps rows of different adapters apart and activates theirs before each pass, so a switch is a matter of flags.
"""

from __future__ import annotations

import json
import warnings
from collections import OrderedDict
from typing import Any

from llmos.engine.base import Adapter
from llmos.errors import InvalidValue, ModelFileError, UnsafeFile

MAX_LOADED = 8  # the least recently used goes first


class Adapters:
    """Used on the model's thread only."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._names: OrderedDict[Adapter, str] = OrderedDict()
        self._active: Adapter | None = None
        self._count = 0

    def activate(self, adapter: Adapter | None) -> None:
        """Makes the next passes use this adapter, or none. Raises InvalidValue, UnsafeFile or ModelFileError when it cannot be."""
        if adapter is not None and adapter not in self._names:
            self._load(adapter)
        if adapter != self._active:
            self._switch(adapter)

    def _switch(self, adapter: Adapter | None) -> None:
        self._active = adapter
        if not self._names:
            return  # no layer has been made ready for adapters yet
        if adapter is None:
            self._model.disable_adapters()
        else:
            self._model.enable_adapters()
            self._model.set_adapter(self._names[adapter])
            self._names.move_to_end(adapter)

    def _load(self, adapter: Adapter) -> None:
        from safetensors.torch import load_file

        path = adapter.folder / "adapter_config.json"
        if not path.exists():
            raise InvalidValue(f"{adapter.folder} holds no adapter_config.json; it is no PEFT adapter.", param="adapter")
        config = json.loads(path.read_text("utf-8"))
        if config.get("peft_type") != "LORA":
            raise InvalidValue(
                f"The adapter {adapter.name} is {config.get('peft_type')}; only LORA can be applied.", param="adapter"
            )
        weights = adapter.folder / "adapter_model.safetensors"
        if not weights.exists():
            raise UnsafeFile(
                f"The adapter {adapter.name} has no adapter_model.safetensors; other formats are not read.", param="adapter"
            )
        if len(self._names) >= MAX_LOADED:
            self._forget()
        self._count += 1
        name = f"adapter{self._count}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # peft warns that there is more than one adapter, which is the point
                self._install(name, config, load_file(weights), adapter.scale)
        except (ValueError, RuntimeError, KeyError, TypeError) as problem:
            self._drop(name)
            self._switch(self._active)
            raise ModelFileError(f"The adapter {adapter.name} does not fit the model: {problem}", param="adapter") from problem
        self._names[adapter] = name
        self._switch(adapter)

    def _install(self, name: str, config: dict[str, Any], weights: dict[str, Any], scale: float) -> None:
        from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
        from peft.tuners.lora import LoraLayer

        lora = LoraConfig.from_peft_type(**{**config, "inference_mode": True})
        inject_adapter_in_model(lora, self._model, adapter_name=name)
        weights = {key.removeprefix("base_model.model."): value for key, value in weights.items()}
        report = set_peft_model_state_dict(self._model, weights, adapter_name=name)
        missing = [key for key in report.missing_keys if f".{name}." in key]
        if missing or report.unexpected_keys:
            raise ValueError(f"weights missing: {missing[:3]}, not known: {report.unexpected_keys[:3]}")
        self._model._hf_peft_config_loaded = True
        for module in self._model.modules():
            if isinstance(module, LoraLayer) and name in module.scaling:
                module.set_scale(name, scale)
        self._model.eval()

    def _forget(self) -> None:
        oldest, name = self._names.popitem(last=False)
        if oldest == self._active:
            self._active = None
        self._drop(name)

    def _drop(self, name: str) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft tells which one it activates instead; `_switch` decides that
            for module in self._model.modules():
                if isinstance(module, BaseTunerLayer):
                    module.delete_adapter(name)
        getattr(self._model, "peft_config", {}).pop(name, None)

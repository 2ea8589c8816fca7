"""Recipes of Data-Juicer, run as they are: its YAML becomes a recipe of LLMOS before anything else looks at it.

    project_name: mails                       name: mails
    dataset_path: mails.jsonl                 sources: [{path: mails.jsonl}]
    text_keys: body                  ──>      text_column: body
    process:                                  process:
      - words_num_filter: {min_num: 20}         - num_words: {min_words: 20}
    export_path: out/clean.jsonl              sinks: [{path: out/clean.jsonl}]

Facts are those of Data-Juicer 1.6.1: keys of its config/config_all.yaml, operators of juicer_operators.py. What a key or an operator
decides is kept; what only says how Data-Juicer works (caches, tracers, fusion) is left out, and told. A key or operator that would
change the rows and is not known here is an error: no recipe runs as another one than it says.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmos.data import juicer_mappers  # noqa: F401 - fills `operators`
from llmos.data.juicer_operators import Translation, operators
from llmos.errors import InvalidValue, did_you_mean

# Keys that only say how Data-Juicer works, or what its analyser and other executors do; they decide no row.
_WITHOUT_MEANING = """
adaptive_batch_size audio_key audio_special_token auto auto_num auto_op_parallelism cache_compress checkpoint checkpoint_dir
conflict_resolve_strategy data_probe_algo data_probe_ratio debug ds_cache_dir elastic_juicer_adaptive_batching
elastic_juicer_profile_seed eoc_special_token event_log_dir event_logging export_aws_credentials export_extra_args
export_in_parallel export_original_dataset fusion_strategy image_bytes_key image_key image_special_token job_id
keep_hashes_in_res_ds load_jsonl_lenient mapper_fusion mapper_fusion_vram_limit min_common_dep_num_to_combine op_fusion
op_list_to_mine op_list_to_trace open_insight_mining open_monitor open_tracer override_num_blocks partition partition_dir
partition_size percentiles ray_address read_options resume save_stats_in_one_file skip_op_error strict_preflight temp_dir trace_keys
trace_num turbo use_cache use_checkpoint use_dag validators video_key video_special_token work_dir
"""
WITHOUT_MEANING = frozenset(_WITHOUT_MEANING.split())
# Keys that change what comes in or goes out in a way that LLMOS does not do; allowed when they are empty or off.
REFUSED = {
    "custom_operator_paths": "operators of one's own are steps of a plugin here",
    "decrypt_after_reading": "encrypted files are not read",
    "encrypt_before_export": "files are not encrypted",
    "encryption_key_path": "files are not encrypted",
    "generated_dataset_config": "formatters that generate data are not known",
    "hpo_config": "parameters are not searched for",
    "load_dataset_kwargs": "readers have options of their own, under `read`",
}
_USED = """
dataset dataset_path executor_type export_path export_shard_size export_type keep_stats_in_res_ds np process project_name suffixes text_keys
"""
USED = frozenset(_USED.split())
EXECUTORS = {"default": "auto", "ray": "ray", "ray_partitioned": "ray"}


def is_juicer(document: Mapping[str, Any]) -> bool:
    """By its keys: `process` with a key that only Data-Juicer has, or steps that are named as its operators are."""
    if "sources" in document or not isinstance(document.get("process"), list):
        return False
    own = USED - {"process"}
    return bool(own & document.keys()) or any(
        re.search(r"_(filter|mapper|deduplicator|selector|grouper|aggregator)$", _name_of(call)) for call in document["process"]
    )


def _name_of(call: Any) -> str:
    return str(next(iter(call), "")) if isinstance(call, Mapping) else str(call)


def translate(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same as plain data of a Recipe, with `notices`. Raises InvalidValue that names the key."""
    told = Translation()
    _check_keys(document, told)
    result: dict[str, Any] = {"sources": _sources(document, told)}
    result["process"] = [*_sampled(document), *_process(document["process"], told)]
    for key, use in _SIMPLE.items():
        if document.get(key) is not None:
            use(document[key], result, told)
    if document.get("export_path"):
        result["sinks"] = [_sink(document, told)]
    return result | {"notices": list(dict.fromkeys(told.notices))}


def _check_keys(document: Mapping[str, Any], told: Translation) -> None:
    for key, value in document.items():
        if key in REFUSED and value:
            raise InvalidValue(f"{key}: {REFUSED[key]}; the key must be left out.", param=key)
        if key not in USED | WITHOUT_MEANING | REFUSED.keys():
            hint = did_you_mean(key, sorted(USED | WITHOUT_MEANING))
            raise InvalidValue(f"{key} is no key of a Data-Juicer recipe that is known here.", param=key, hint=hint)
    idle = sorted(WITHOUT_MEANING & document.keys())
    if idle:
        told.notices.append(f"These keys of Data-Juicer decide no row and are left out: {', '.join(idle)}.")
    if document.get("validators"):
        told.notices.append("validators are not run; rows without the text or of another type go to the error table.")


# -- where rows come from ----------------------------------------------------------------------------------------------
def _sources(document: Mapping[str, Any], told: Translation) -> list[dict[str, Any]]:
    given, path = document.get("dataset"), document.get("dataset_path")
    if given:
        paths = [_path_of(one, number) for number, one in enumerate(_configs(given))]
    elif isinstance(path, str) and path.strip():
        paths = _weighed(path)
        if len(shlex.split(path)) > len(paths):
            told.notices.append("Weights of dataset_path count only with max_sample_num in Data-Juicer; all rows are read.")
    else:
        raise InvalidValue("The recipe has neither dataset_path nor dataset.", param="dataset_path")
    endings = document.get("suffixes") or []
    endings = [endings] if isinstance(endings, str) else endings
    if not endings:
        return [{"path": one} for one in paths]
    return [{"path": str(Path(one) / f"**/*.{ending.lstrip('.')}")} for one in paths for ending in endings]


def _configs(given: Any) -> list[Any]:
    configs = given.get("configs") if isinstance(given, Mapping) else None
    if not isinstance(configs, list) or not configs or set(given) - {"configs", "max_sample_num"}:
        raise InvalidValue("dataset must have `configs`, a list, and perhaps max_sample_num.", param="dataset")
    if given.get("max_sample_num") and len(configs) > 1:
        raise InvalidValue(
            "max_sample_num over several datasets, which mixes them by weight, is not translated.",
            param="dataset.max_sample_num",
            hint="Run one recipe per dataset, or take the key out and add a mixing step.",
        )
    return configs


def _path_of(config: Any, number: int) -> str:
    where = f"dataset.configs.{number}"
    if not isinstance(config, Mapping) or not isinstance(config.get("path"), str):
        raise InvalidValue(f"{where} has no path.", param=where)
    if config.get("type", "local") != "local":
        raise InvalidValue(
            f"{where}: type {config['type']!r} is not read; only local files are.",
            param=f"{where}.type",
            hint="Fetch it first, or write the recipe for LLMOS, whose sources have url and dataset.",
        )
    unknown = sorted(set(config) - {"type", "path", "weight"})
    if unknown:
        raise InvalidValue(f"{where} has a key that is not known: {unknown[0]}.", param=f"{where}.{unknown[0]}")
    return str(config["path"])


def _weighed(text: str) -> list[str]:
    """`0.3 a.jsonl 0.7 b.jsonl` -> the paths."""
    return [one for one in shlex.split(text) if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", one)]


def _sampled(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = document.get("dataset")
    num = given.get("max_sample_num") if isinstance(given, Mapping) else None
    return [{"sample": {"rows": num}}] if num else []


# -- what is done with them --------------------------------------------------------------------------------------------
def _process(calls: list[Any], told: Translation) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for place, call in enumerate(calls):
        name, given = _name_of(call), next(iter(call.values())) if isinstance(call, Mapping) else None
        where = f"process.{place}.{name}"
        if (isinstance(call, Mapping) and len(call) != 1) or not isinstance(given or {}, Mapping):
            raise InvalidValue(f"process.{place} is not of the form `operator: {{arguments}}`.", param=f"process.{place}")
        if name not in operators:
            raise InvalidValue(
                f"The operator {name} of Data-Juicer is not supported.",
                param=where,
                hint=did_you_mean(name, sorted(operators), limit=99),
            )
        made += told.steps(operators[name], name, where, dict(given or {}))
    return made


# -- everything else ---------------------------------------------------------------------------------------------------
def _sink(document: Mapping[str, Any], told: Translation) -> dict[str, Any]:
    path, kind = str(document["export_path"]), str(document.get("export_type") or "auto")
    if kind not in ("auto", "jsonl", "json", "parquet"):
        raise InvalidValue(f"export_type {kind!r} is not written; jsonl, json and parquet are.", param="export_type")
    if document.get("export_shard_size"):
        told.notices.append("export_shard_size: one file per part is written, whatever its size.")
        path = str(Path(path).with_suffix("")) + "/"
    return {"path": path, "format": kind}


def _name(value: Any, result: dict[str, Any], told: Translation) -> None:
    name = re.sub(r"[^a-z0-9._-]+", "-", str(value).lower()).strip("-._")[:128] or "dataset"
    if name != value:
        told.notices.append(f"project_name {value!r} becomes the dataset name {name!r}.")
    result["name"] = name


def _text_keys(value: Any, result: dict[str, Any], told: Translation) -> None:
    keys = [value] if isinstance(value, str) else list(value)
    if not keys or "." in str(keys[0]):
        raise InvalidValue(f"text_keys {value!r}: a column is wanted, not a field of one.", param="text_keys")
    if len(keys) > 1:
        told.notices.append(f"Of text_keys the first one, {keys[0]}, is processed, as Data-Juicer does.")
    result["text_column"] = str(keys[0])


def _executor(value: Any, result: dict[str, Any], told: Translation) -> None:
    if value not in EXECUTORS:
        raise InvalidValue(
            f"executor_type {value!r} is not known.", param="executor_type", hint=did_you_mean(str(value), list(EXECUTORS))
        )
    result["executor"] = EXECUTORS[value]


def _keep_stats(value: Any, result: dict[str, Any], told: Translation) -> None:
    result["keep_signals"] = bool(value)
    if value:
        told.notices.append("keep_stats_in_res_ds: what filters measure is in columns of its own, under LLMOS's names.")


def _np(value: Any, result: dict[str, Any], told: Translation) -> None:
    result["workers"] = value


_SIMPLE: dict[str, Callable[[Any, dict[str, Any], Translation], None]] = {
    "project_name": _name,
    "text_keys": _text_keys,
    "executor_type": _executor,
    "keep_stats_in_res_ds": _keep_stats,
    "np": _np,
}

"""Writes models/plan/data/engine.json: what planning must know of vLLM without importing it.

``python -m sandbox.engine.model_facts``, a part of ``make reference``. A test fails when the file
is not what this would write, and a quick one when it was written by other versions than the lock's.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.models.plan.facts import ENGINE_FILE, KEYS

_LOCK = Path(__file__).resolve().parents[2] / "requirements/api-gpu.txt"


def locked_versions() -> dict[str, str]:
    """The versions, as the lock has them, of the packages that the facts come from."""
    pins = re.findall(r"^(vllm|transformers)==(\S+)", _LOCK.read_text(encoding="utf-8"), re.M)
    return dict(sorted(pins))


def facts() -> dict[str, Any]:
    """The architectures that vLLM knows, and the defaults of configurations in Transformers."""
    # Imported here: seconds each, and only for this.
    from transformers.models.auto import configuration_auto
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    from vllm.model_executor.models import registry
    from vllm.transformers_utils.config import _CONFIG_REGISTRY

    config_names = vars(configuration_auto)["CONFIG_MAPPING_NAMES"]
    known = set(registry.ModelRegistry.get_supported_archs())
    causal = {
        name
        for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
        for name in ([names] if isinstance(names, str) else names)
    }
    return {
        "made_from": locked_versions(),
        "architectures": sorted(known),
        # vLLM runs these through Transformers' own implementation where that allows it.
        "transformers_architectures": sorted(causal - known),
        "dropped_architectures": dict(sorted(registry._PREVIOUSLY_SUPPORTED_MODELS.items())),
        "config_types": sorted({*config_names, *_CONFIG_REGISTRY}),
        "defaults": {name: values for name in sorted(config_names) if (values := _defaults(name))},
    }


def _defaults(model_type: str) -> dict[str, Any]:
    """What Transformers assumes where config.json of this type says nothing."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind: Callable[..., Any] = CONFIG_MAPPING[model_type]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = kind()
            other = kind(num_attention_heads=4, hidden_size=320)
    except Exception:
        # Some have no defaults at all.
        return {}
    # Not getattr: configurations whose layers differ refuse to be asked for a varying value.
    values, changed = made.to_dict(), other.to_dict()
    if not isinstance(values.get("num_hidden_layers"), int):
        return {}
    given = {"num_attention_heads", "hidden_size"}
    # A value that follows from others is no default: shape.py derives it in the same way.
    found = {
        key: values[key]
        for key in KEYS
        if isinstance(values.get(key), int | bool)
        and (key in given or changed.get(key) == values[key])
    }
    kinds = values.get("layer_types")
    if isinstance(kinds, list) and len(set(kinds)) > 1:
        found["layer_pattern"] = _period(kinds)
    return found


def _period(kinds: list[str]) -> list[str]:
    """The shortest beginning of ``kinds`` that repeated gives all of it."""
    for length in range(1, len(kinds)):
        if all(kind == kinds[at % length] for at, kind in enumerate(kinds)):
            return kinds[:length]
    return kinds


def text() -> str:
    """The file's content: one line a list, one line a model type, so that differences read well."""
    lines = []
    for name, value in facts().items():
        if name == "defaults":
            rows = [f"  {json.dumps(key)}: {json.dumps(row)}" for key, row in value.items()]
            lines.append(f'"{name}": {{\n' + ",\n".join(rows) + "\n}")
        elif isinstance(value, list):
            lines.append(f'"{name}": [\n  ' + ",\n  ".join(map(json.dumps, value)) + "\n]")
        else:
            lines.append(f'"{name}": {json.dumps(value, indent=2)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> int:
    """Write the file."""
    ENGINE_FILE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

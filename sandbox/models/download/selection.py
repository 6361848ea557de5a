"""Which files of a repository vLLM loads, so that no weights are fetched in two formats."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from sandbox.errors import SandboxError

_SMALL = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py")
# Copies of the same model for other programs.
_ELSEWHERE = ("original/*", "onnx/*", "openvino/*", "coreml/*", "metal/*", "gguf/*")
_MISTRAL = ("consolidated*", "params.json", "tokenizer.model.v*")
# Layers after the model itself, as sentence-transformers keeps them: 2_Dense/model.safetensors.
_MODULES = "[0-9]_*/*.safetensors"
_HF_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.*", "spiece.model", "*.tiktoken")
_MISTRAL_TOKENIZERS = ("tekken.json", "tokenizer.model.v*")


def choose(paths: Iterable[str], name: str) -> list[str]:
    """The files of ``paths`` that vLLM is to load, in the order in which they matter.

    Some repositories have the weights twice: in Hugging Face's format (config.json,
    model*.safetensors) and in Mistral's (params.json, consolidated*.safetensors). vLLM would
    prefer the second. The first is chosen here wherever it is whole, because its tokenizer
    brings the chat template, and its weights come in parts, which arrive side by side. vLLM
    looks at the files that it is given, so that it follows this choice.

    Raises ``SandboxError`` when there is nothing that can be loaded; ``name`` is for its message.
    """
    paths = [path for path in paths if not _any(path, _ELSEWHERE)]
    root = [path for path in paths if "/" not in path]
    weights = [path for path in root if path.endswith(".safetensors")]
    if not weights:
        raise _no_weights(paths, name)
    mistral = [path for path in weights if path.startswith("consolidated")]
    hugging_face = [path for path in weights if path not in mistral]
    if "config.json" not in root:
        hugging_face = []
    only_mistral_tokenizer = _some(root, _MISTRAL_TOKENIZERS) and not _some(root, _HF_TOKENIZERS)
    if mistral and (not hugging_face or only_mistral_tokenizer):
        small = [p for p in paths if _any(p, _SMALL) and not p.startswith("model.safetensors")]
        small += [p for p in root if _any(p, _MISTRAL) and p not in small and p not in mistral]
        weights = mistral
    else:
        small = [p for p in paths if _any(p, _SMALL) and not _any(p, _MISTRAL)]
        weights = hugging_face + [p for p in paths if _any(p, (_MODULES,))]
    if not {"config.json", "params.json"} & set(small):
        raise SandboxError(
            f"{name} has no config.json, so it is not a model that can be served by itself.",
            "Choose the repository of the whole model; an adapter or a pipeline is not one.",
        )
    return [*small, *weights]


def _no_weights(paths: list[str], name: str) -> SandboxError:
    if any(path.endswith(".gguf") for path in paths):
        return SandboxError(
            f"{name} has only GGUF files, which vLLM does not load.",
            "Set MODEL_ID to the model that they were made from; its page on Hugging Face names "
            "it as the base model.",
        )
    return SandboxError(
        f"{name} has no safetensors weights, which are the only ones loaded here.",
        "Choose a repository with .safetensors files; most models have one.",
    )


def _any(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _some(paths: Iterable[str], patterns: Iterable[str]) -> bool:
    return any(_any(path, patterns) for path in paths)

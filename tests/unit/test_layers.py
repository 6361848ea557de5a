"""The folders are the architecture: a module imports only from parts below its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sandbox"
# From the top down. Modules of sandbox/ itself that are not listed are at the bottom.
LAYERS = ["cli", "up", "doctor", "bench", "use", "protect", "stock", "reach", "report", "reference"]
LAYERS += ["install", "api", "ui", "engine", "models", "host"]
MODULES = sorted(PACKAGE.rglob("*.py"))


def part(parts: tuple[str, ...]) -> str:
    return parts[1] if len(parts) > 1 else "sandbox"


def rank(name: str) -> int:
    return LAYERS.index(name) if name in LAYERS else len(LAYERS)


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_module_imports_only_from_parts_below(file: Path) -> None:
    own = part(file.relative_to(ROOT).with_suffix("").parts)
    for name in imports(file):
        pieces = tuple(name.split("."))
        if pieces[0] != "sandbox" or len(pieces) == 1:
            continue
        other = part(pieces)
        # settings.py asks the machine which model is its default.
        if (own, other) == ("settings", "host"):
            continue
        assert rank(other) >= rank(own), f"{own} imports {name}"


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(ROOT)))
def test_only_the_engine_imports_vllm(file: Path) -> None:
    if "engine" not in file.parts:
        assert not {name for name in imports(file) if name.split(".")[0] == "vllm"}


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_file_stays_small(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 400


@pytest.mark.parametrize(
    "module",
    [
        *("sandbox.cli", "sandbox.settings", "sandbox.report", "sandbox.engine.arguments"),
        *("sandbox.models.download.terminal", "sandbox.models.cache"),
    ],
)
def test_what_does_not_serve_loads_nothing_heavy(module: str) -> None:
    heavy = "{'torch', 'vllm', 'transformers', 'huggingface_hub', 'fastapi', 'uvicorn'}"
    code = f"import sys, {module}; sys.exit(str({heavy} & set(sys.modules) or ''))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0 or ended.stderr.strip() == "", ended.stderr

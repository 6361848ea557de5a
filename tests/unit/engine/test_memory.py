"""What is forgotten is found again by who needs it."""

from __future__ import annotations

import importlib
import inspect
import linecache
import sys
from pathlib import Path

import pytest

from sandbox.engine import memory


def test_sources_are_read_again() -> None:
    source = inspect.getsource(memory.give_back)
    memory.forget_imports()
    assert memory.__file__ not in linecache.cache
    assert inspect.getsource(memory.give_back) == source


def test_sources_of_generated_code_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["x = 1\n"]
    monkeypatch.setitem(linecache.cache, "<generated>", (6, None, lines, "<generated>"))
    memory.forget_imports()
    assert linecache.getlines("<generated>") == lines


def test_modules_are_found_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "forgotten_first.py").write_text("")
    importlib.import_module("forgotten_first")
    (tmp_path / "forgotten_second.py").write_text("")
    memory.forget_imports()
    assert str(tmp_path) not in sys.path_importer_cache
    importlib.import_module("forgotten_second")


def test_what_transformers_found_in_its_folders_is_found_again() -> None:
    from transformers import models
    from transformers.utils import import_utils

    folder = str(Path(models.__path__[0], "llama", "__init__.py"))
    structure = import_utils.define_import_structure(folder)
    memory.forget_imports()
    for function in (
        import_utils.define_import_structure,
        import_utils.create_import_structure_from_path,
    ):
        assert not function.cache_info().currsize
    assert import_utils.define_import_structure(folder) == structure


def test_memory_can_be_given_back_at_any_time() -> None:
    memory.give_back()

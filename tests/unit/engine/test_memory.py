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


def test_memory_can_be_given_back_at_any_time() -> None:
    memory.give_back()

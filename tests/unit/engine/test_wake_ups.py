"""Readers of vLLM's messages sleep soon, and forget what would have woken them while they work."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import zmq

from sandbox.engine import wake_ups
from sandbox.engine.plugin import LAUNCHER_PID

with warnings.catch_warnings():
    # torch and vllm warn about themselves when they are imported.
    warnings.simplefilter("ignore")
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

_MESSAGES = 4000
# What each process of an engine does at its start.
_LOAD = """
from vllm.plugins import load_general_plugins
load_general_plugins()
from vllm.distributed.device_communicators.shm_broadcast import SpinCondition
print(SpinCondition.record_read.__module__)
"""


class _Used(ctypes.Structure):
    """What malloc tells of itself (mallinfo(3))."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost",
    )]  # fmt: skip


def bytes_in_use() -> int:
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Used
    return int(mallinfo().uordblks)


def test_a_busy_reader_does_not_collect_what_would_wake_it(tmp_path: Path) -> None:
    class Condition(SpinCondition):
        """vLLM's, for this test alone."""

    wake_ups.install(Condition)
    address = f"ipc://{tmp_path}/wake-ups"
    with zmq.Context() as context:
        reader: Any = Condition(True, context, address)
        writer: Any = Condition(False, context, address)
        reader.record_read()
        time.sleep(1.1)
        reader.record_read()
        before = bytes_in_use()
        for _ in range(_MESSAGES):
            writer.notify()
            time.sleep(0.0005)
        grown = bytes_in_use() - before
        time.sleep(1.1)
        reader.record_read()
        left = bytes_in_use() - before
        context.destroy(linger=0)
    # 40 bytes each, for those that came one by one.
    assert grown > 10 * _MESSAGES
    assert left < grown / 2


def test_a_reader_sleeps_soon_after_a_message_and_is_woken_by_the_next(tmp_path: Path) -> None:
    class Condition(SpinCondition):
        """vLLM's, for this test alone."""

    wake_ups.install(Condition)
    with zmq.Context() as context:
        reader: Any = Condition(True, context, f"ipc://{tmp_path}/wake-ups")
        writer: Any = Condition(False, context, f"ipc://{tmp_path}/wake-ups")
        reader.record_read()
        time.sleep(2 * wake_ups.AWAKE_SECONDS)
        began = time.thread_time(), time.monotonic()
        reader.wait(timeout_ms=200)
        computed, passed = time.thread_time() - began[0], time.monotonic() - began[1]
        threading.Timer(0.1, writer.notify).start()
        reader.wait(timeout_ms=60_000)
        woken = time.monotonic() - began[1]
        context.destroy(linger=0)
    assert passed >= 0.19
    assert computed < 0.1
    assert woken < 50


def test_readers_of_our_engine_are_such() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", _LOAD],
        env={**os.environ, LAUNCHER_PID: str(os.getpid())},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert loaded.stdout.splitlines()[-1] == wake_ups.__name__

"""The stand-in for the package index as the far end of an installation."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.process.processes import running


@contextlib.contextmanager
def package_index(folder: Path, project: str, times: int) -> Iterator[dict[str, str]]:
    """An index that breaks off the files of ``project`` so often; what tells uv to use it."""
    command = [sys.executable, "-m", "tests.standins.package_index", project, str(times)]
    with running(command, folder) as program:
        program.wait_for("/simple\n")
        # No retries of uv's own, which take their time, but ours.
        yield {"UV_DEFAULT_INDEX": program.output.strip(), "UV_HTTP_RETRIES": "0"}

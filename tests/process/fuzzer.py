"""Requests that a fuzzer makes of the service's own OpenAPI document, right ones and wrong ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.process.api_service import ApiService

SECONDS = 120.0


def fuzz(api: ApiService, folder: Path, cases: int, seed: int) -> subprocess.CompletedProcess[str]:
    """Send about ``cases`` requests to the routes that answer; it ends with 1 after a 5xx.

    It prints how each of those can be sent again. ``folder`` takes what it keeps.
    """
    paths = api.status()["routes"]
    examples = max(1, cases // len(paths))
    options = (
        *("--mode", "all", "--phases", "fuzzing", "--max-examples", str(examples)),
        *("--checks", "not_a_server_error", "--continue-on-failure", "--workers", "4"),
        *("--request-timeout", str(SECONDS), "--seed", str(seed), "--no-color"),
        # A model that answers is slow in the eyes of a fuzzer.
        *("--suppress-health-check", "all", "--warnings", "off"),
    )
    included = [word for path in paths for word in ("--include-path", path)]
    tool = Path(sys.executable).with_name("schemathesis")
    return subprocess.run(
        [str(tool), "run", f"{api.url}/openapi.json", *options, *included],
        cwd=folder,
        # A proxy or a configuration of the tester's is not meant for this.
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
    )

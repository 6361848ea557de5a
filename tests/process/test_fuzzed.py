"""What the OpenAPI document allows, and what it does not, costs neither a 5xx nor the engine."""

from __future__ import annotations

from pathlib import Path

from tests.process.api_service import ApiService
from tests.process.fuzzer import fuzz

# More are sent by `make fuzz`.
CASES = 30


def test_a_fuzzer_finds_no_5xx(api: ApiService, tmp_path: Path) -> None:
    restarts = api.status()["restarts"]
    done = fuzz(api, tmp_path, CASES, seed=1)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert api.ask("Hello").status_code == 200
    assert api.status()["restarts"] == restarts

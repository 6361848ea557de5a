"""`make fuzz CASES=5000`: a fuzzer over the API of the real service, and what it found.

Ends with 1 after a 5xx, or when the engine was restarted. SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from pathlib import Path

from tests.process.api_service import serving
from tests.process.fuzzer import fuzz


def main() -> int:
    """Print what the fuzzer prints; 1 when something was wrong."""
    cases = int(os.environ.get("CASES") or 5000)
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as service:
        if service.wait_for("ready")["state"] != "ready":
            raise SystemExit(service.tell())
        print(f"{cases} cases with SEED={seed}", flush=True)
        done = fuzz(service, Path(folder), cases, seed)
        print(done.stdout + done.stderr)
        answer, restarts = service.ask("Hello").status_code, service.status()["restarts"]
    print(f"the model answers with {answer} afterwards; restarts: {restarts}")
    return 1 if done.returncode or answer != 200 or restarts else 0


if __name__ == "__main__":
    sys.exit(main())

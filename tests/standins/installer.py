"""Stands in for sandbox/install/bootstrap.py: says what stackscript.sh handed to it, and ends.

It writes seen.json below AI_SANDBOX_ROOT. INSTALLER_LINES, INSTALLER_SAYS, INSTALLER_MOTD and
INSTALLER_STATUS say how many lines it prints, a sentence of its own, what it writes into the
message of the day, and how it ends.
"""

import json
import os
import sys
from pathlib import Path

root = Path(os.environ["AI_SANDBOX_ROOT"])
source = Path(__file__).resolve().parents[2]
seen = {
    "arguments": sys.argv[1:],
    "environment": dict(os.environ),
    "files": sorted(str(f.relative_to(source)) for f in source.rglob("*") if f.is_file()),
}
(root / "seen.json").write_text(json.dumps(seen))
print(os.environ.get("INSTALLER_SAYS", "words of the installer"), file=sys.stderr)
sys.stderr.flush()
for number in range(int(os.environ.get("INSTALLER_LINES", "0"))):
    print("line", number)
if "INSTALLER_MOTD" in os.environ:
    (root / "etc/motd").write_text(os.environ["INSTALLER_MOTD"])
sys.exit(int(os.environ.get("INSTALLER_STATUS", "0")))

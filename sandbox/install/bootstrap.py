"""The first step in a clone (``python3 bootstrap.py api ui``) or on a box (``... box``).

This file parses on every Python, so that an old one gets a sentence and not a SyntaxError.
"""

import os
import sys

if sys.version_info < (3, 9):  # noqa: UP036 - it runs on whatever python3 is
    sys.exit("AI Sandbox needs Python 3.9 or newer to install itself; this is " + sys.version[:6])

# In place of this folder, whose module names would hide those of the standard library.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from sandbox.install import environments, first_boot  # noqa: E402

if __name__ == "__main__":
    if sys.argv[1:2] == ["box"]:
        sys.exit(first_boot.main(sys.argv[2:]))
    if sys.argv[1:2] == ["release"]:
        sys.exit(first_boot.build_release())
    sys.exit(environments.main())

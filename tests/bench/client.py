"""The clients of a measurement, as a process of their own: an order on stdin, figures on stdout."""

from __future__ import annotations

import json
import sys

import uvloop

from sandbox.bench.figures import figures
from sandbox.bench.load import Target, arriving, together


def main() -> None:
    """Ask what the order says."""
    order = json.load(sys.stdin)
    target, bodies = Target(**order["target"]), order["bodies"]
    if order["per_second"]:
        asking = arriving(target, bodies, order["per_second"])
    else:
        asking = together(target, bodies, order["at_once"])
    answers = uvloop.run(asking)
    for failed in [answer for answer in answers if not answer.good][:1]:
        print(f"status {failed.status}: {failed.head[:500]!r}", file=sys.stderr)
    print(json.dumps(figures(answers, order["tokens"]).as_json()))


if __name__ == "__main__":
    main()

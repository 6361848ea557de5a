"""A program that supervises shell commands: ``supervise_program.py NAME=COMMAND...``."""

from __future__ import annotations

import os
import sys

from sandbox.up import Service, supervise

services = []
for argument in sys.argv[1:]:
    name, _, command = argument.partition("=")
    services.append(Service(name, ["sh", "-c", command], pause_s=0.01))
sys.exit(supervise(services, os.environ))

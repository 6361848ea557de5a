"""What the zygote runs at its start: bind its life to the launcher's, then import vLLM."""

from __future__ import annotations

import faulthandler
import os
import sys

from sandbox.engine.loading import keeping_imports
from sandbox.engine.plugin import LAUNCHER_PID
from sandbox.engine.zygote import GIVEN_UP
from sandbox.host.processes import die_with_parent

die_with_parent()
if os.getppid() != int(os.environ[LAUNCHER_PID]):
    # The launcher was gone before its death could be asked for.
    sys.exit(1)
# So that a hung engine tells where it hangs: zygote.abort.
faulthandler.enable()
os.register_at_fork(after_in_child=die_with_parent)
# Ctrl-C in a terminal is for the launcher, which lets requests end before it stops the engine.
os.setpgid(0, 0)

with keeping_imports():
    from sandbox.engine import vllm_api

    vllm_api.preload_workers()
vllm_api.use_zygote()
if vllm_api.cuda_is_initialized():
    # CUDA cannot be used after a fork; without a zygote vLLM spawns its processes.
    print("ai-sandbox: importing vLLM initialized CUDA; engine processes are spawned instead")
    sys.stdout.flush()
    os._exit(GIVEN_UP)

"""The service ai-sandbox-api: the port first, then the engine, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
import uvloop

from sandbox.api import control
from sandbox.api.access import KeyCheck
from sandbox.api.gateway import Gateway
from sandbox.engine import arguments, zygote
from sandbox.engine.lifecycle import Lifecycle, State, Status
from sandbox.engine.logs import EngineLog
from sandbox.engine.plugin import LAUNCHER_PID
from sandbox.engine.supervisor import Supervisor
from sandbox.errors import ConfigError, ExitCode
from sandbox.host import ports
from sandbox.host.notify import notify
from sandbox.settings import Loaded, Settings

log = logging.getLogger(__name__)

DRAIN_SECONDS = 30.0
# Ctrl-C must end everything within 10 s.
DRAIN_SECONDS_ON_INTERRUPT = 3.0


def run(loaded: Loaded) -> int:
    """Serve until SIGTERM or SIGINT; the return value is the exit code."""
    settings = loaded.settings
    arguments.extra_flags(settings)
    # Said by the person: have vLLM start its processes in its own way.
    spawn_wanted = "VLLM_WORKER_MULTIPROC_METHOD" in os.environ
    _set_environment(settings)
    os.environ[LAUNCHER_PID] = str(os.getpid())
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("sandbox").setLevel(logging.INFO)
    listener = ports.bind(settings.api_host, settings.api_port, "API_PORT")
    listener.listen(2048)
    engine_log = EngineLog()
    if not spawn_wanted:
        with engine_log.capture():
            zygote.start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_Launcher(settings, listener, engine_log).serve())
    zygote.sweep(seconds=0)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a thread that still loads a model would be waited for.
    os._exit(code)


class _Launcher:
    def __init__(self, settings: Settings, listener: socket.socket, engine_log: EngineLog) -> None:
        self._settings = settings
        self._listener = listener
        self._engine_log = engine_log
        self._lifecycle = Lifecycle(settings.served_name)
        self._stop_asked = asyncio.Event()
        self._drain_seconds = DRAIN_SECONDS

    async def serve(self) -> int:
        settings, lifecycle = self._settings, self._lifecycle
        lifecycle.listen(_tell_journal_and_systemd)
        supervisor = Supervisor(settings, lifecycle, self._engine_log)
        keys = KeyCheck(settings.api_keys)
        gateway = Gateway(supervisor, lifecycle, keys)
        gateway.own = control.create(
            lifecycle,
            keys,
            ui_port=settings.ui_port,
            key_needed=bool(settings.api_keys),
            running=lambda: gateway.running,
        )
        server = _Server(
            uvicorn.Config(
                gateway,
                http="httptools",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._handle_signals()
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        notify(READY="1")
        log.info("Listening on http://%s:%d", settings.api_host, settings.api_port)
        supervising = asyncio.create_task(supervisor.run())
        stopping = asyncio.create_task(self._stop_asked.wait())
        await asyncio.wait({serving, supervising, stopping}, return_when=asyncio.FIRST_COMPLETED)
        code = ExitCode.OK
        if supervising.done():
            # It ends by itself only to give up, or by a mistake of ours: both are failures.
            code = ExitCode.FAILURE
            if supervising.exception():
                log.error("The supervisor failed", exc_info=supervising.exception())
        elif serving.done():
            code = ExitCode.FAILURE
            log.error("The server ended by itself", exc_info=serving.exception())
        # From here on the states are the launcher's: nothing is restarted any more.
        supervising.cancel()
        await asyncio.wait({supervising})
        if stopping.done():
            await self._drain(gateway)
        await supervisor.close()
        await lifecycle.set(State.STOPPED, "The service has stopped.")
        server.should_exit = True
        await asyncio.wait({serving}, timeout=3)
        stopping.cancel()
        return code

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def stop(seconds: float) -> None:
            self._drain_seconds = min(self._drain_seconds, seconds)
            self._stop_asked.set()

        loop.add_signal_handler(signal.SIGTERM, stop, DRAIN_SECONDS)
        loop.add_signal_handler(signal.SIGINT, stop, DRAIN_SECONDS_ON_INTERRUPT)

    async def _drain(self, gateway: Gateway) -> None:
        """Refuse new requests and let the running ones end, for a while."""
        notify(STOPPING="1")
        model = self._settings.served_name
        await self._lifecycle.set(
            State.DRAINING, f"{model} is stopping; {gateway.running} requests are being finished."
        )
        clock = asyncio.get_running_loop().time
        start = clock()
        # A second signal can shorten the wait.
        while gateway.running and clock() < start + self._drain_seconds:
            await asyncio.sleep(0.05)


class _Server(uvicorn.Server):
    """Uvicorn's server without its signal handlers: the launcher has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _set_environment(settings: Settings) -> None:
    """What vLLM and its libraries read from the environment; what a person has set stays.

    Raises ``ConfigError`` for a key that would be asked for beside ours.
    """
    if os.environ.get("VLLM_API_KEY"):
        raise ConfigError("VLLM_API_KEY is set, which AI Sandbox does not use.", "Set API_KEY.")
    for name, value in {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_CACHE_ROOT": str(settings.models_dir / "cache" / "vllm"),
        # For the paths of vLLM that do not ask the zygote: never a fork of the launcher.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        # An image address must not lead on to another address.
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    }.items():
        os.environ.setdefault(name, value)


def _tell_journal_and_systemd(status: Status) -> None:
    if status.progress is None:
        log.info("%s: %s", status.state, status.message)
    notify(STATUS=status.message)

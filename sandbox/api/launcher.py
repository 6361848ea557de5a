"""The service ai-sandbox-api: the port first, then the engine, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping

import uvicorn
import uvloop

from sandbox.api import connections, control
from sandbox.api.access import KeyCheck
from sandbox.api.admission import Admission
from sandbox.api.gateway import Gateway
from sandbox.api.history import History
from sandbox.api.reloading import Reloader
from sandbox.api.telling import Teller
from sandbox.engine import arguments, compilers, sockets, zygote
from sandbox.engine.draining import DRAIN_SECONDS, drained, requests
from sandbox.engine.lifecycle import Lifecycle, State
from sandbox.engine.loading import import_ahead
from sandbox.engine.logs import EngineLog
from sandbox.engine.plugin import LAUNCHER_PID
from sandbox.engine.supervisor import Supervisor
from sandbox.errors import ConfigError, ExitCode
from sandbox.host import ports
from sandbox.host.notify import feed_watchdog, notify
from sandbox.paths import Paths
from sandbox.settings import Loaded, Settings

log = logging.getLogger(__name__)

# Ctrl-C must end everything within 10 s.
DRAIN_SECONDS_ON_INTERRUPT = 3.0


def run(read: Callable[[Mapping[str, str]], Loaded]) -> int:
    """Serve until SIGTERM or SIGINT; the return value is the exit code.

    ``read`` gives the settings by an environment, at the start and again at each SIGHUP.
    """
    # Until its handler is there, SIGHUP must not end the process.
    signal.signal(signal.SIGHUP, lambda *_: None)
    # What we set below is no wish of the person's.
    environ = dict(os.environ)
    loaded = read(environ)
    settings = loaded.settings
    arguments.extra_flags(settings)
    keys = KeyCheck(
        settings.api_keys,
        protected=settings.access == "protected",
        named=loaded.keys_file,
        page=Paths.here().page_digest(settings.ui_data_dir),
    )
    # Said by the person: have vLLM start its processes in its own way.
    spawn_wanted = "VLLM_WORKER_MULTIPROC_METHOD" in os.environ
    _set_environment(settings)
    os.environ[LAUNCHER_PID] = str(os.getpid())
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("sandbox").setLevel(logging.INFO)
    listener = ports.bind(settings.api_host, settings.api_port, "API_PORT")
    listener.listen(2048)
    engine_log = EngineLog()
    with sockets.folder():
        if not spawn_wanted:
            with engine_log.capture():
                zygote.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            launcher = _Launcher(settings, listener, engine_log, keys, lambda: read(environ))
            code = runner.run(launcher.serve())
        zygote.sweep(seconds=0)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a thread that still loads a model would be waited for.
    os._exit(code)


class _Launcher:
    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        engine_log: EngineLog,
        keys: KeyCheck,
        read: Callable[[], Loaded],
    ) -> None:
        self._keys = keys
        self._read = read
        self._settings = settings
        self._listener = listener
        self._engine_log = engine_log
        self._lifecycle = Lifecycle(settings.served_name, model_id=settings.model_id)
        self._stop_asked = asyncio.Event()
        self._drain_seconds = DRAIN_SECONDS

    async def serve(self) -> int:
        settings, lifecycle, keys = self._settings, self._lifecycle, self._keys
        lifecycle.listen(Teller().tell)
        supervisor = Supervisor(
            settings, lifecycle, self._engine_log, running=lambda: gateway.running
        )
        gateway = Gateway(supervisor, lifecycle, keys, Admission(settings, keys))
        history = History(lifecycle)
        gateway.own = control.create(
            lifecycle,
            keys,
            history,
            ui_port=settings.ui_port,
            running=lambda: gateway.running,
            routes=lambda: gateway.served,
        )
        crowd = connections.Crowd(connections.ensure_descriptors(settings.max_connections))
        server = _Server(
            uvicorn.Config(
                gateway,
                http=connections.limited(crowd),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=connections.IDLE_SECONDS,
                timeout_graceful_shutdown=1,
            )
        )
        self._handle_signals(Reloader(settings, self._read, keys, supervisor).reload)
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        notify(READY="1")
        log.info("Listening on http://%s:%d", settings.api_host, settings.api_port)
        if keys.needed and not keys.count:
            log.warning("A key is needed and there is none: `ai-sandbox keys add NAME` makes one")
        # While the model is looked up, planned and downloaded.
        import_ahead()
        supervising = asyncio.create_task(supervisor.run())
        sampling = asyncio.create_task(history.run())
        stopping = asyncio.create_task(self._stop_asked.wait())
        feeding = asyncio.create_task(feed_watchdog())
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
        feeding.cancel()
        sampling.cancel()
        return code

    def _handle_signals(self, reload: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        had_terminal = os.isatty(0)

        def stop(seconds: float) -> None:
            self._drain_seconds = min(self._drain_seconds, seconds)
            self._stop_asked.set()

        loop.add_signal_handler(signal.SIGTERM, stop, DRAIN_SECONDS)
        loop.add_signal_handler(signal.SIGINT, stop, DRAIN_SECONDS_ON_INTERRUPT)

        def hang_up() -> None:
            # The terminal that it was started in may have been closed.
            if had_terminal and not os.isatty(0):
                stop(DRAIN_SECONDS_ON_INTERRUPT)
            else:
                reload()

        loop.add_signal_handler(signal.SIGHUP, hang_up)

    async def _drain(self, gateway: Gateway) -> None:
        """Refuse new requests and let the running ones end, for a while."""
        notify(STOPPING="1")
        model = self._lifecycle.status.model
        await self._lifecycle.set(
            State.DRAINING,
            f"{model} is stopping; {requests(gateway.running)} being finished.",
            switching=False,
            next=None,
        )
        # A second signal can shorten the wait.
        await drained(lambda: gateway.running, lambda: self._drain_seconds)


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
    # vLLM warns of variables that begin as its own and are not.
    os.environ.pop("VLLM_EXTRA_ARGS", None)
    cache = settings.models_dir / "cache"
    os.environ.update(compilers.variables(cache))
    for name, value in {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        # What it measured of a GPU's memory is kept there, and used while nothing has changed.
        "VLLM_ENABLE_STARTUP_PLAN": "1",
        "HF_ENDPOINT": settings.hf_endpoint,
        **({"HF_HUB_OFFLINE": "1"} if settings.hf_hub_offline else {}),
        # For the paths of vLLM that do not ask the zygote: never a fork of the launcher.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        # An image address must not lead on to another address.
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_MAX_MEDIA_DOWNLOAD_SIZE_MB": "32",
        # What one request may ask for.
        "VLLM_MAX_N_SEQUENCES": "16",
        "VLLM_MAX_COMPLETION_PROMPTS": "128",
        "VLLM_CHAT_TEMPLATE_RENDER_TIMEOUT": "5",
    }.items():
        os.environ.setdefault(name, value)

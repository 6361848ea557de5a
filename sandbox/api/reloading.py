"""SIGHUP: the settings are read again; what is wrong with them is said and changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sandbox.api.access import KeyCheck
from sandbox.engine import arguments, changes
from sandbox.engine.supervisor import Supervisor
from sandbox.errors import SandboxError
from sandbox.settings import Loaded, Settings

log = logging.getLogger(__name__)


class Reloader:
    """Reads the settings again for the parts that can change while they run."""

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Loaded],
        keys: KeyCheck,
        supervisor: Supervisor,
    ) -> None:
        self._settings = settings
        self._read = read
        self._keys = keys
        self._supervisor = supervisor

    def reload(self) -> None:
        """Have what the settings say now in force, or say why not."""
        log.info("Reading the settings again")
        try:
            loaded = self._read()
            new = loaded.settings
            arguments.extra_flags(new)
            notices = changes.notices(self._settings, loaded)
        except SandboxError as error:
            said = f"{error.message} {error.hint}".strip()
            self._supervisor.reload(None, f"The settings stay as they were: {said}")
            return
        except Exception:
            log.exception("Unexpected")
            self._supervisor.reload(
                None, "The settings stay as they were: reading them failed, see the log."
            )
            return
        self._keys.replace(new.api_keys, protected=new.access == "protected")
        # What is of the chat page, or fixed, is compared with the start again next time.
        self._settings = changes.acknowledged(self._settings, new)
        self._supervisor.reload(changes.in_force(self._settings, new), " ".join(notices))

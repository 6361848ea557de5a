"""The lifecycle told to the journal and to systemd: each sentence once, progress as it goes."""

from __future__ import annotations

import logging

from sandbox.engine.lifecycle import Preparation, Progress, State, Status
from sandbox.host.notify import notify
from sandbox.models.download.progress import size

log = logging.getLogger(__name__)


class Teller:
    """A listener of the lifecycle."""

    def __init__(self) -> None:
        self._said = ""
        self._said_of_next = ""

    def tell(self, status: Status) -> None:
        """Log what is new in ``status``, and give systemd its one line."""
        said = f"{status.state}: {status.message}"
        if status.progress is None and said != self._said:
            self._said = said
            log.info("%s", said)
        following = status.next
        said = f"next {following.state}: {following.message}" if following else ""
        # The reason of a failure is logged where it is found.
        failed = following and following.state is State.FAILED
        if not (following and following.progress) and said != self._said_of_next:
            self._said_of_next = said
            if said and not failed:
                log.info("%s", said)
        notify(STATUS=one_line(status))


def one_line(status: Status) -> str:
    """All of ``status`` that a person wants to see, in one line."""
    parts = [_so_far(status.state, status.progress) + status.message]
    if status.next:
        parts.append(f"Next: {_of_next(status.next)}")
    if status.notice:
        parts.append(status.notice)
    return " ".join(parts)


def _of_next(step: Preparation) -> str:
    if step.state is State.FAILED:
        return f"{step.model} failed: {step.message}"
    return _so_far(step.state, step.progress) + step.message


def _so_far(state: State, progress: Progress | None) -> str:
    if progress is None or progress.percent is None:
        return ""
    rate = progress.bytes_per_second
    return f"{state} {progress.percent:.0f}%{f' at {size(rate)}/s' if rate else ''}: "

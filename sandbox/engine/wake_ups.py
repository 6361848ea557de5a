"""Wake-ups for a reader that never sleeps, of which libzmq would keep a trace for ever.

vLLM's processes talk through shared memory. A reader that has waited for a second sleeps until a
ZeroMQ socket wakes it; as long as it has work it does not look at that socket, and libzmq keeps
40 bytes for each message until somebody does (github.com/zeromq/libzmq/issues/3171).
"""

from __future__ import annotations

from typing import Any

import zmq


def forget_while_busy(condition: type[Any]) -> None:
    """Have readers of ``condition``, vLLM's SpinCondition, ask that socket once a second."""
    own = condition.record_read

    def record_read(self: Any) -> None:
        before = self.last_read
        own(self)
        if int(self.last_read) != int(before):
            # What libzmq does for any question is to work off what it kept.
            self.local_notify_socket.get(zmq.EVENTS)

    condition.record_read = record_read

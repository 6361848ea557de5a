"""How a reader of vLLM's shared memory waits: it sleeps soon, and forgets what would have woken it.

vLLM's processes talk through shared memory. A reader without a message looks for one again and
again, with a whole core, and sleeps until a ZeroMQ socket wakes it only after a second: so much
would every question of the heartbeat take of each worker. As long as a reader has work it does not
look at that socket, and libzmq keeps 40 bytes for each message until somebody does
(github.com/zeromq/libzmq/issues/3171).
"""

from __future__ import annotations

from typing import Any

import zmq

# Longer than most steps, so that next to none of them begins with a wake-up: it takes 0.3 ms. Not
# none at all: the socket drops a wake-up that follows at once on another (one in 3,000 messages on
# two cores), and vLLM looks again after five seconds only. With 2 ms none was lost in 8,000.
AWAKE_SECONDS = 0.05


def install(condition: type[Any]) -> None:
    """Have readers of ``condition``, vLLM's SpinCondition, wait like that."""
    own = condition.record_read

    def record_read(self: Any) -> None:
        before = self.last_read
        own(self)
        self.busy_loop_s = AWAKE_SECONDS
        if int(self.last_read) != int(before):
            # What libzmq does for any question is to work off what it kept.
            self.local_notify_socket.get(zmq.EVENTS)

    condition.record_read = record_read

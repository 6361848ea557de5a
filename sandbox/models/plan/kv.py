"""How much memory the KV cache takes for a token, for a context, and the reverse.

The arithmetic of vLLM 0.32's ``v1/core/kv_cache_utils.py``: the cache is a pool of blocks; layers
of one kind form groups of equal numbers of layers, and each group takes blocks of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from sandbox.models.plan.shape import Shape

# Tokens in a block: vLLM's default on CUDA, and on a CPU (platforms/cpu.py).
GPU_BLOCK = 16
CPU_BLOCK = 128


@dataclass(frozen=True)
class _Group:
    """Layers that share blocks; ``window`` in tokens, None for all of the context."""

    count: int
    window: int | None


class KvCache:
    """The cache of one GPU (or of the CPU) out of ``tensor_parallel`` ones. Sizes in bytes."""

    def __init__(self, shape: Shape, *, tensor_parallel: int, block: int, in_flight: int) -> None:
        """``in_flight`` is how many tokens vLLM may have scheduled and not yet settled."""
        self._shape = shape
        self._block = block
        self._in_flight = in_flight
        counts = [kind.layers for kind in shape.attention]
        self._layers = _group_size(counts)
        self._groups = [
            _Group(math.ceil(kind.layers / self._layers), kind.window) for kind in shape.attention
        ]
        self._per_layer = max(
            (
                max(1, kind.kv_heads // tensor_parallel) * kind.values * shape.kv_bytes
                for kind in shape.attention
            ),
            default=0,
        )

    @property
    def bytes_per_token(self) -> int:
        """What one more token takes while it is within every window."""
        return self._layers * self._per_layer * sum(group.count for group in self._groups)

    @property
    def block_bytes(self) -> int:
        """What one block takes: the smallest step of the pool."""
        return self._layers * self._per_layer * self._block

    def blocks(self, context: int) -> int:
        """How many blocks one request of ``context`` tokens holds at most."""
        total = 0
        for group in self._groups:
            if group.window is None:
                total += group.count * math.ceil(context / self._block)
            else:
                kept = min(group.window - 1 + self._in_flight, context)
                # The window need not begin where a block does.
                total += group.count * (math.ceil(kept / self._block) + 1)
        return total

    def bytes_for(self, context: int) -> int:
        """What one request of ``context`` tokens takes at most."""
        return self.blocks(context) * self.block_bytes + self._state_bytes

    def longest(self, available: int) -> int:
        """The longest context, up to the model's own, of which one request fits; 0 for none."""
        # One block is vLLM's own.
        usable = available - self.block_bytes
        low, high = 0, self._shape.context
        while low < high:
            middle = (low + high + 1) // 2
            if self.bytes_for(middle) <= usable:
                low = middle
            else:
                high = middle - 1
        return low

    def concurrency(self, available: int, context: int) -> float:
        """How many requests of ``context`` tokens fit at once, as vLLM logs it."""
        if not self.block_bytes:
            return 0.0
        state = Fraction(self._state_bytes, self.block_bytes)
        return float((available // self.block_bytes) / (self.blocks(context) + state))

    @property
    def _state_bytes(self) -> int:
        # An estimate: vLLM pads a state to the page of the attention layers and keeps two.
        return 2 * self._shape.state_layers * self._shape.state_values * 2


def _group_size(counts: list[int]) -> int:
    """As many layers as each group has: vLLM's choice for kinds with so many layers."""
    if not counts:
        return 0
    smallest, largest = min(counts), max(counts)
    return largest if largest < smallest * 1.5 else smallest

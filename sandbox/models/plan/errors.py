"""The reason for which there is no plan and a start may go well all the same."""

from __future__ import annotations

from sandbox.errors import SandboxError


class UnplannableError(SandboxError):
    """What planning needs is not said; vLLM may still be able to serve the model."""

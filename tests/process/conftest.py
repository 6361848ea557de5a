"""One real service with the guide model for all tests that leave it as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.api_service import ApiService, serving


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiService]:
    """A ready API; do not stop it, and kill nothing in it."""
    with serving(tmp_path_factory.mktemp("api")) as service:
        status = service.wait_for("ready")
        assert status["state"] == "ready", service.tell()
        yield service

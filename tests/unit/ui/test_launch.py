"""What keeps Open WebUI from starting is said before anything is touched."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import SandboxError
from sandbox.paths import Paths
from sandbox.settings import Settings
from sandbox.ui import launch


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A clone whose Open WebUI fails when it is started."""
    program = tmp_path / ".venv-ui/bin/open-webui"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/false\n")
    program.chmod(0o755)
    return Paths.in_clone(tmp_path)


def settings(paths: Paths, **given: Any) -> Settings:
    base: dict[str, Any] = {
        "MODEL_ID": "some/model",
        "UI_HOST": "127.0.0.1",
        "UI_DATA_DIR": paths.ui_data_dir,
    }
    return Settings(**base | given)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_a_missing_environment_says_what_makes_it(tmp_path: Path) -> None:
    paths = Paths.in_clone(tmp_path)
    with pytest.raises(SandboxError) as error:
        launch.run(settings(paths), paths)
    assert f"{tmp_path}/.venv-ui/bin/open-webui is not there" in error.value.message
    assert "`make run`" in error.value.hint


def test_a_port_in_use_stops_the_start_before_a_folder_is_made(paths: Paths) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(SandboxError, match=f"Port {port} is in use by PID"):
            launch.run(settings(paths, UI_PORT=port), paths)
    assert not paths.ui_data_dir.exists()


def test_a_data_folder_that_cannot_be_made_is_named_with_its_setting(
    paths: Paths, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    data = tmp_path / "file/data"
    with pytest.raises(SandboxError) as error:
        launch.run(settings(paths, UI_PORT=free_port(), UI_DATA_DIR=data), paths)
    assert f"UI_DATA_DIR is {data}" in error.value.message
    assert "Not a directory" in error.value.message

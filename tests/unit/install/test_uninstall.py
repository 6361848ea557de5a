"""What an uninstallation takes away, keeps, and says when a command refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.install import uninstall, users
from sandbox.install.commands import Commands
from tests.standins.programs import Programs


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "log", pauses_s=())


def test_purging_removes_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "volume/models/m").mkdir(parents=True)
    (tmp_path / "kept").write_text("")
    (tmp_path / "volume/models/link").symlink_to(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "volume/models")
    uninstall.remove_data(tmp_path / "link")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "volume"]
    assert not list((tmp_path / "volume").iterdir())


def test_purging_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    uninstall.remove_data(tmp_path / "absent")


def test_what_a_command_refuses_is_told_after_the_rest(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    Programs(tmp_path / "bin", monkeypatch).add("userdel", "echo in use by process 7; exit 8")
    undo = uninstall.Undo(commands)
    undo.attempt("userdel root", lambda: users.remove_user("root", commands))
    undo.attempt("true", lambda: commands.run(["touch", str(tmp_path / "rest")]))
    assert (tmp_path / "rest").exists()
    with pytest.raises(SandboxError, match="userdel root: in use by process 7") as raised:
        undo.check()
    assert raised.value.hint.endswith(": userdel root")


def test_a_linked_folder_is_given_to_root_with_what_is_in_it(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Programs(tmp_path / "bin", monkeypatch)
    programs.add("chown")
    (tmp_path / "volume").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "volume")
    users.give_to_root(tmp_path / "link", commands)
    (call,) = programs.calls("chown")
    assert call.endswith(f"root:root {tmp_path}/volume")


@pytest.mark.root("only root can take a file over")
def test_the_settings_that_stay_are_roots_alone(tmp_path: Path) -> None:
    file = tmp_path / "ai-sandbox.env"
    file.write_text("HF_TOKEN=x\n")
    os.chown(file, 0, 12345)
    file.chmod(0o640)
    uninstall.keep_from_others(file)
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 0, 0o600)

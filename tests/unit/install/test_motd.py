"""What people read when they log in, and that the former text comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.install import motd
from sandbox.install.record import Record
from sandbox.paths import Box, Paths
from sandbox.settings import Settings, load

ADDRESS = "203.0.113.7"
# Nothing listens there.
NOWHERE = "http://127.0.0.1:1"


def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return load(Paths.installed(tmp_path)).settings


def is_fit(text: str) -> bool:
    return text.isascii() and all(len(line) <= 78 for line in text.splitlines())


def test_the_text_says_where_everything_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = settings(monkeypatch, tmp_path, MODEL_ID="mistralai/Mistral-7B-Instruct-v0.3")
    text = motd.render(chosen, ADDRESS)
    for word in (
        f"http://{ADDRESS}:3000", f"http://{ADDRESS}:8000/v1", chosen.model_id,
        "MODEL_ID in /etc/ai-sandbox.env", "systemctl restart ai-sandbox-api",
        "journalctl -u ai-sandbox-api -f", "/var/log/ai-sandbox", "ai-sandbox status",
        "ai-sandbox doctor",
    ):  # fmt: skip
        assert word in text
    assert is_fit(text)


def test_an_open_box_has_the_warning_and_both_ways_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = " ".join(motd.render(settings(monkeypatch, tmp_path), ADDRESS).split())
    assert "WARNING: ports 3000 and 8000 are open to the whole internet" in text
    assert "Cloud Firewall" in text
    assert "sudo ai-sandbox protect" in text


def test_a_protected_box_says_where_the_password_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = settings(
        monkeypatch, tmp_path, ACCESS="protected", API_KEY="sk-secret-key",
        UI_DATA_DIR="/opt/open-webui",
    )  # fmt: skip
    text = motd.render(chosen, ADDRESS)
    assert "sudo ai-sandbox credentials" in text
    assert "sudo ai-sandbox keys add" in text
    assert "WARNING" not in text
    assert "sk-secret-key" not in text
    assert is_fit(text)


def test_a_box_that_only_this_machine_reaches_has_no_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = settings(monkeypatch, tmp_path, UI_HOST="127.0.0.1", API_HOST="127.0.0.1")
    text = motd.render(chosen, ADDRESS)
    assert "WARNING" not in text
    assert "http://127.0.0.1:3000" in text


def test_only_the_open_port_is_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = settings(monkeypatch, tmp_path, API_HOST="127.0.0.1", UI_PORT="3333")
    assert "WARNING: port 3333 is open" in motd.render(chosen, ADDRESS)


def test_a_failure_has_its_step_its_reason_and_its_log(tmp_path: Path) -> None:
    reason = "- The disk of / has 3.1 GB free; 14.0 GB are needed: " + "a long list, " * 10
    text = motd.render_failure("driver", reason, tmp_path / "driver.log")
    for word in ("did not finish", "GPU driver", "3.1 GB free", "sudo ai-sandbox install"):
        assert word in text
    assert str(tmp_path / "driver.log") in text


@pytest.mark.parametrize("before", ["Welcome to Debian\n", None, "caf\udce9\n"])
def test_the_former_text_comes_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str | None
) -> None:
    box = Box(tmp_path)
    record = Record(box)
    box.motd.parent.mkdir()
    if before is not None:
        box.motd.write_text(before, errors="surrogateescape")
    assert motd.ensure_failed(box, record, "api", "No network.", tmp_path / "api.log")
    assert motd.ensure_motd(box, record, settings(monkeypatch, tmp_path), NOWHERE)
    motd.remove_motd(box, record)
    if before is None:
        assert not box.motd.exists()
    else:
        assert box.motd.read_text(errors="surrogateescape") == before


@pytest.mark.parametrize("before", ["Welcome\n", None])
def test_what_a_failed_stackscript_kept_comes_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str | None
) -> None:
    box = Box(tmp_path)
    record = Record(box)
    box.motd.parent.mkdir()
    box.motd.write_text("AI Sandbox was NOT installed on this machine.\n")
    if before:
        (tmp_path / "etc/motd.before-ai-sandbox").write_text(before)
    motd.ensure_motd(box, record, settings(monkeypatch, tmp_path), NOWHERE)
    motd.remove_motd(box, record)
    assert (box.motd.read_text() if box.motd.exists() else None) == before
    assert not (tmp_path / "etc/motd.before-ai-sandbox").exists()


def test_a_second_run_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    box, chosen = Box(tmp_path), settings(monkeypatch, tmp_path)
    motd.ensure_motd(box, Record(box), chosen, NOWHERE)
    assert not motd.ensure_motd(box, Record(box), chosen, NOWHERE)


def test_a_text_that_somebody_wrote_since_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    box = Box(tmp_path)
    motd.ensure_motd(box, Record(box), settings(monkeypatch, tmp_path), NOWHERE)
    box.motd.write_text("Mine\n")
    motd.remove_motd(box, Record(box))
    assert box.motd.read_text() == "Mine\n"


def test_without_an_installation_nothing_is_removed(tmp_path: Path) -> None:
    motd.remove_motd(Box(tmp_path), Record(Box(tmp_path)))

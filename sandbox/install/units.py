"""Our systemd units on this machine: copied from a release, enabled, removed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from sandbox.host import systemctl
from sandbox.paths import Box, Paths
from sandbox.settings import Settings

API = "ai-sandbox-api.service"
UI = "ai-sandbox-ui.service"
DEVICES = "ai-sandbox-devices.service"
BACKUP = "ai-sandbox-backup.service"
BACKUP_TIMER = "ai-sandbox-backup.timer"
TARGET = "ai-sandbox.target"
NAMES = (DEVICES, API, UI, BACKUP, BACKUP_TIMER, TARGET)
ENABLED = (API, UI, BACKUP_TIMER, TARGET)
# Only in drop-ins of ours; people's own have other names.
DROP_IN = "10-ai-sandbox.conf"


def ensure_units(release: Path, box: Box, settings: Settings) -> set[str]:
    """Install the units of ``release``; the names of those that were changed."""
    changed = set()
    new = {name for name in NAMES if not (box.units / name).exists()}
    for name in NAMES:
        text = (release / "systemd" / name).read_text(encoding="utf-8")
        if _ensure_file(box.units / name, text):
            changed.add(name)
    for name, folder, usual in (
        (API, settings.models_dir, Paths.installed(box.root).models_dir),
        (UI, settings.ui_data_dir, Paths.installed(box.root).ui_data_dir),
        (BACKUP, settings.ui_data_dir, Paths.installed(box.root).ui_data_dir),
    ):
        drop_in = box.units / f"{name}.d" / DROP_IN
        if folder == usual:
            if drop_in.exists():
                drop_in.unlink()
                changed.add(name)
        elif _ensure_file(drop_in, f"[Service]\nReadWritePaths=-{folder}\n"):
            changed.add(name)
    if changed:
        systemctl.daemon_reload()
    missing = [name for name in ENABLED if not systemctl.is_enabled(name)]
    # One that a person disabled after the first installation stays so.
    wanted = missing if TARGET in missing else [name for name in missing if name in new]
    if wanted:
        systemctl.enable(*wanted)
    if systemctl.is_enabled(BACKUP_TIMER) and not systemctl.is_active(BACKUP_TIMER):
        systemctl.start(BACKUP_TIMER)
    return changed


def remove_units(box: Box) -> None:
    """Stop, disable and remove our units."""
    systemctl.stop(TARGET, BACKUP_TIMER, BACKUP, UI, API, DEVICES)
    systemctl.disable(*ENABLED)
    for name in NAMES:
        (box.units / name).unlink(missing_ok=True)
        (box.units / f"{name}.d" / DROP_IN).unlink(missing_ok=True)
        # Where systemd remembers when a timer last fired.
        (box.root / f"var/lib/systemd/timers/stamp-{name}").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            # Unless a person's own drop-ins are in it.
            (box.units / f"{name}.d").rmdir()
    systemctl.daemon_reload()
    systemctl.reset_failed(API, UI, BACKUP, DEVICES)


def _ensure_file(file: Path, text: str) -> bool:
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(file)
    return True

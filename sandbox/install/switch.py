"""From one release to another and back: both complete, one link apart, the chats safe."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.host import systemctl
from sandbox.install import chats, first_boot, releases, services, smoke, units
from sandbox.paths import Box
from sandbox.settings import Settings

# A release's lock of Open WebUI: a newer one changes the database, and there is no way back.
UI_LOCK = "requirements/ui.txt"

Say = Callable[[str], None]


def to(release: Path, box: Box, settings: Settings, say: Say) -> None:
    """Serve from ``release``, which is complete; the former one comes back by itself.

    Raises ``SandboxError`` when ``release`` did not get well; the former one serves again then.
    """
    former, older = releases.target_of(box.current), releases.target_of(box.previous)
    assert former is not None
    ui_differs = _ui_differs(former, release)
    if ui_differs and _version(release) < _version(former):
        raise SandboxError(
            f"{release.name} is older than {former.name}, and its Open WebUI could not read the "
            "newer database.",
            "`ai-sandbox rollback` goes back to the release before, with the chats of then.",
        )
    was_ready = _model_answers(settings)
    say(f"backing up the chats of {former.name}")
    if ui_differs:
        # Nothing is written after the backup.
        systemctl.stop(units.UI)
    try:
        backup = chats.back_up(box, settings, former)
    except BaseException:
        if services.is_wanted(units.UI):
            systemctl.start(units.UI)
        raise
    try:
        releases.point(box.previous, former)
        say(f"switching to {release.name}")
        _serve_from(release, box, settings)
        _watch(settings, was_ready, say)
    except BaseException as error:
        # Ctrl-C and a full disk as well: never left between two releases.
        say(f"{release.name} did not get well, going back: {error}")
        where = _return_to(former, box, settings, backup if ui_differs else None)
        if older:
            releases.point(box.previous, older)
        else:
            box.previous.unlink(missing_ok=True)
        if not isinstance(error, SandboxError):
            raise
        _watch(settings, was_ready, say)
        shutil.rmtree(release, ignore_errors=True)
        raise SandboxError(
            f"Release {release.name} did not get well: {error.message}",
            f"{former.name} serves again. {where}\n{error.hint}",
        ) from None
    releases.prune(box)


def roll_back(box: Box, settings: Settings, say: Say) -> Path:
    """Serve from the release before the current one; returns it.

    Where Open WebUI differs, the chats are those of when that release was left; what came since
    is kept aside. Raises ``SandboxError``; the present release serves on then.
    """
    former, now = releases.target_of(box.previous), releases.target_of(box.current)
    if former is None or now is None or former == now or not releases.is_whole(former):
        raise SandboxError(
            "There is no release to go back to: only one was ever installed here.",
            "`ai-sandbox upgrade SOURCE` installs another.",
        )
    _check_settings(former)
    backup = None
    if _ui_differs(former, now):
        backup = chats.newest(box, former)
        if backup is None:
            raise SandboxError(
                f"{former.name} has another Open WebUI, and its backup of the chats is gone from "
                f"{box.backups}.",
                "Going back could leave a database that it cannot read. Restore one there first.",
            )
    was_ready = _model_answers(settings)
    present = None
    try:
        if backup:
            systemctl.stop(units.UI)
            present = chats.back_up(box, settings, now)
        say(_return_to(former, box, settings, backup))
        _watch(settings, was_ready, say)
    except BaseException:
        say(f"{former.name} did not get well, going back to {now.name}")
        _return_to(now, box, settings, present)
        raise
    releases.point(box.previous, now)
    say(f"{former.name} serves again")
    return former


def _serve_from(release: Path, box: Box, settings: Settings) -> None:
    systemctl.stop(units.UI)
    releases.point(box.current, release)
    units.ensure_units(release, box, settings)
    for name, port in ((units.API, settings.api_port), (units.UI, settings.ui_port)):
        if services.is_wanted(name):
            # Of an installation that failed; it would hold the port.
            first_boot.end_page(port)
            systemctl.reset_failed(name)
            systemctl.restart(name)


def _return_to(former: Path, box: Box, settings: Settings, backup: Path | None) -> str:
    """Serve from ``former`` again, with the chats of ``backup`` if given; a sentence on those."""
    systemctl.stop(units.UI)
    said = "The chats are as they are."
    if backup:
        try:
            aside = chats.restore(backup, settings)
            said = f"The chats are those of before; what came since is in {aside}."
        except (SandboxError, OSError) as error:
            # A release that serves matters more; the copy is safe.
            said = f"The chats could not be restored ({error}); they are in {backup}."
    _serve_from(former, box, settings)
    return said


def _watch(settings: Settings, model_answered: bool, say: Say) -> None:
    """Return when the services are as well as before; raises ``SandboxError``."""
    if services.is_wanted(units.API):
        try:
            smoke.wait_for_model(settings, say)
        except smoke.NotReadyError as error:
            if model_answered:
                raise SandboxError(f"the model does not answer any more: {error.message}") from None
    if services.is_wanted(units.UI):
        smoke.wait_for_page(settings)


def _check_settings(release: Path) -> None:
    """Raise ``SandboxError`` when ``release`` does not understand the settings of today."""
    done = subprocess.run(
        [str(release / "base/bin/ai-sandbox"), "check"], capture_output=True, text=True
    )
    if done.returncode:
        raise SandboxError(
            f"{release.name} does not accept the settings: {done.stderr.strip()}",
            "Correct /etc/ai-sandbox.env for it, then run this again.",
        )


def _model_answers(settings: Settings) -> bool:
    return smoke.status(settings).get("state") == "ready"


def _ui_differs(one: Path, other: Path) -> bool:
    return (one / UI_LOCK).read_bytes() != (other / UI_LOCK).read_bytes()


def _version(release: Path) -> list[int]:
    """The numbers of the version in the release's name."""
    return [int(number) for number in re.findall(r"\d+", release.name.rpartition("-")[0])]

"""Every location on disk, for an installed box and for a clone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Paths:
    """Where things lie. Made by ``installed`` or ``in_clone``, never by hand."""

    env_file: Path
    models_dir: Path
    ui_data_dir: Path
    ui_env: Path
    is_clone: bool

    @classmethod
    def installed(cls, root: Path = Path("/")) -> Paths:
        """The box that stackscript.sh makes; ``root`` is another folder only in tests."""
        return cls(
            env_file=root / "etc/ai-sandbox.env",
            models_dir=root / "opt/models",
            ui_data_dir=root / "opt/open-webui",
            ui_env=root / "opt/ai-sandbox/current/ui",
            is_clone=False,
        )

    @classmethod
    def in_clone(cls, clone: Path) -> Paths:
        """A git checkout in which ``make run`` keeps everything below the checkout itself."""
        return cls(
            env_file=clone / "ai-sandbox.env",
            models_dir=clone / "data/models",
            ui_data_dir=clone / "data/open-webui",
            ui_env=clone / ".venv-ui",
            is_clone=True,
        )

    @classmethod
    def here(cls) -> Paths:
        """The paths of the code that is running: a clone when its Makefile lies beside it."""
        clone = PACKAGE.parent
        if (clone / "Makefile").is_file() and (clone / "pyproject.toml").is_file():
            return cls.in_clone(clone)
        return cls.installed()

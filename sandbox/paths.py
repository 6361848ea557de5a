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
    # Archives for their owner alone, and for everybody the time of the last good one.
    backups_dir: Path
    # The environments: vLLM's and Open WebUI's. Each is a folder with bin/python.
    api_env: Path
    ui_env: Path
    # Where the chat page leaves the hash of its API key; None is its data folder.
    ui_run_dir: Path | None
    is_clone: bool

    @classmethod
    def installed(cls, root: Path = Path("/"), release: Path | None = None) -> Paths:
        """The box that stackscript.sh makes; ``root`` is another folder only in tests.

        ``release`` is the folder of the release whose code runs; the current one by default.
        """
        release = release or root / "opt/ai-sandbox/current"
        return cls(
            env_file=root / "etc/ai-sandbox.env",
            models_dir=root / "opt/models",
            ui_data_dir=root / "opt/open-webui",
            backups_dir=root / "var/backups/ai-sandbox",
            api_env=release / "api",
            ui_env=release / "ui",
            ui_run_dir=root / "run/ai-sandbox-ui",
            is_clone=False,
        )

    @classmethod
    def in_clone(cls, clone: Path) -> Paths:
        """A git checkout in which ``make run`` keeps everything below the checkout itself."""
        return cls(
            env_file=clone / "ai-sandbox.env",
            models_dir=clone / "data/models",
            ui_data_dir=clone / "data/open-webui",
            backups_dir=clone / "data/backups",
            api_env=clone / ".venv",
            ui_env=clone / ".venv-ui",
            ui_run_dir=None,
            is_clone=True,
        )

    @property
    def sample(self) -> Path:
        """The commented sample of the env file, in a clone; on a box the env file began as it."""
        return self.env_file.with_name("ai-sandbox.env.sample")

    def page_digest(self, ui_data_dir: Path) -> Path:
        """The hash of the API key of the chat page that runs with ``ui_data_dir``."""
        return (self.ui_run_dir or ui_data_dir) / "api-key.sha256"

    @classmethod
    def here(cls) -> Paths:
        """The paths of the code that is running: a clone when its Makefile lies beside it."""
        folder = PACKAGE.parent
        if (folder / "Makefile").is_file() and (folder / "pyproject.toml").is_file():
            return cls.in_clone(folder)
        return cls.installed(release=folder)


@dataclass(frozen=True)
class Box:
    """What belongs to the machine and not to one release; everything below ``root``."""

    root: Path = Path("/")

    @property
    def home(self) -> Path:
        """The installation: root's, read-only for the services."""
        return self.root / "opt/ai-sandbox"

    @property
    def releases(self) -> Path:
        """One folder for each release: its code and the environments base, api, ui."""
        return self.home / "releases"

    @property
    def current(self) -> Path:
        """The link to the release that serves."""
        return self.home / "current"

    @property
    def previous(self) -> Path:
        """The link to the release that served before, for a rollback."""
        return self.home / "previous"

    @property
    def tools(self) -> Path:
        """uv and the Python that it brings; shared by the releases."""
        return self.home / "tools"

    @property
    def package_cache(self) -> Path:
        """What uv fetched; its files are linked into the environments, not copied."""
        return self.home / "cache"

    @property
    def backups(self) -> Path:
        """Copies of the chat page's database from before each upgrade."""
        return self.home / "backups"

    @property
    def record(self) -> Path:
        """JSON of what the installer changed and found, for `ai-sandbox uninstall`."""
        return self.home / "record.json"

    @property
    def logs(self) -> Path:
        """The log of each installation step."""
        return self.root / "var/log/ai-sandbox"

    @property
    def progress(self) -> Path:
        """What the installer does now, for the progress page; gone after a reboot."""
        return self.root / "run/ai-sandbox-install/progress.json"

    @property
    def units(self) -> Path:
        """The administrator's systemd units."""
        return self.root / "etc/systemd/system"

    @property
    def command(self) -> Path:
        """The link that makes `ai-sandbox` a command of everybody's."""
        return self.root / "usr/local/bin/ai-sandbox"

    @property
    def motd(self) -> Path:
        """What people see when they log in."""
        return self.root / "etc/motd"

"""`ai-sandbox install`: looks first, then brings the machine to what it has to be, step by step.

The same path installs, repairs and completes an interrupted installation: each step changes only
what is not right yet, and a run on a complete box changes nothing and restarts nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from sandbox import env_file
from sandbox.errors import ConfigError, ExitCode, SandboxError
from sandbox.host import hardware, systemctl
from sandbox.install import (
    bake,
    driver,
    first_boot,
    machine,
    motd,
    preflight,
    releases,
    services,
    smoke,
    switch,
    toolchain,
    units,
    users,
)
from sandbox.install.commands import CommandFailed
from sandbox.install.environments import Environment, Installer, choose, in_release
from sandbox.install.lock import only_installer
from sandbox.install.record import Record
from sandbox.install.steps import Context, Runner, Step, StepFailed
from sandbox.install.timeline import Timeline
from sandbox.models.download import Hub, missing_bytes
from sandbox.models.source import LocalModel, resolve
from sandbox.paths import PACKAGE, Box, Paths
from sandbox.settings import Settings, keys_file, load, read_env_file
from sandbox.ui import accounts

# In the record, true from before settings change until the services run with them.
RESTART_DUE = "restart_due"


@dataclass(frozen=True)
class Options:
    """What is wanted; ``fields`` are the StackScript's, which are in the environment."""

    fields: bool = False
    bake: bool = False
    gpu: bool = False


def install(options: Options) -> int:
    """Bring this machine to a running AI Sandbox of this code's release; the exit code."""
    box = Box()
    release = PACKAGE.parent
    if release.parent != box.releases:
        raise SandboxError(
            f"`ai-sandbox install` belongs to an installed release; this code is in {release}.",
            "On a new machine run stackscript.sh: sudo AI_SANDBOX_SOURCE=FOLDER ./stackscript.sh",
        )
    first_boot.use_caches(box)
    with _stop_on_sigterm(), only_installer(box):
        timeline = Timeline.resume(box.progress, os.environ.get("MODEL_ID", ""))
        with timeline:
            try:
                return _Installation(options, box, release, timeline).run()
            except StepFailed as error:
                motd.ensure_failed(box, Record(box), error.key, error.message, error.log)
                raise
            except SandboxError as error:
                # Before the first step. Until there is an env file the message of the day is
                # stackscript.sh's, which knows what was typed into the form.
                if not timeline.has_failed:
                    timeline.fail("settings", error.message, error.hint, None)
                raise


@dataclass
class _Installation:
    options: Options
    box: Box
    release: Path
    timeline: Timeline
    record: Record = field(init=False)
    runner: Runner = field(init=False)
    installer: Installer = field(init=False)
    has_gpu: bool = field(init=False)
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.record = Record(self.box)
        self.runner = Runner(self.timeline, self.box.logs)
        self.installer = Installer(self.release, self.release, self.box.tools, self.box.logs)
        # By the card: its driver may come in a step of this run.
        self.has_gpu = hardware.has_nvidia_card() or hardware.has_nvidia_gpu() or self.options.gpu

    def run(self) -> int:
        fields, wrong = self._take_fields() if self.options.fields else ({}, [])
        self._look(fields, wrong)
        self.runner.run([Step("settings", lambda step: self._ensure_settings(step, fields))])
        self.runner.run(
            [
                Step("packages", self._ensure_packages),
                Step("driver", self._ensure_driver, ("packages",)),
                Step("api", self._ensure_api),
                Step("check", self._check_engine, ("api", "driver")),
                Step("ui", self._ensure_ui),
                *([] if self.options.bake else self._start_steps()),
            ]
        )
        if self.options.bake:
            self.runner.run([Step("finish", self._finish)])
            bake.clean_up(self.box)
            print("Baked: make an image of this disk. Its first boot configures and starts.")
            return ExitCode.OK
        self.runner.run([Step("answer", self._ask)])
        motd.ensure_motd(self.box, self.record, self.settings)
        self.runner.run([Step("finish", self._finish)])
        return ExitCode.OK

    def _take_fields(self) -> tuple[dict[str, str], list[machine.Problem]]:
        """The StackScript's fields as settings, or what is wrong with them.

        Nothing that is started later sees them.
        """
        present: dict[str, str] = {}
        with contextlib.suppress(ConfigError):
            # That the file is broken is found by the look at the machine.
            present = self._values_in_file()
        try:
            return env_file.from_udf(os.environ, present), []
        except ConfigError as error:
            *others, last = error.message.splitlines()
            wrong = [machine.Problem(line, "") for line in others]
            return {}, [*wrong, machine.Problem(last, error.hint)]
        finally:
            for name in env_file.UDFS:
                os.environ.pop(name, None)

    def _values_in_file(self) -> dict[str, str]:
        file = Paths.installed(self.box.root).env_file
        return {n: v.value for n, v in read_env_file(file).items()} if file.exists() else {}

    def _look(self, fields: dict[str, str], wrong: list[machine.Problem]) -> None:
        """Refuse, with all problems in one list, before anything is changed.

        ``wrong`` are those of the fields: which model is wanted is not known then.
        """
        problems = wrong + preflight.check(
            self.box,
            fields,
            has_gpu=self.has_gpu,
            bake=self.options.bake,
            model_bytes=lambda: None if wrong else self._model_bytes(fields),
        )
        if not problems:
            return
        error = SandboxError(
            "\n".join(f"- {p.message} {p.hint}".rstrip() for p in problems),
            "Nothing was installed. Correct this and run it again.",
        )
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        self.timeline.fail("settings", f"{problems[0].message}{more}", problems[0].hint, None)
        raise error

    def _model_bytes(self, fields: dict[str, str]) -> int | None:
        """What of the model is still to be fetched; None when the hub does not say now."""
        try:
            settings = load(Paths.installed(self.box.root)).settings
            model = resolve(fields.get("MODEL_ID") or settings.model_id, settings.model_revision)
            if isinstance(model, LocalModel):
                return 0
            hub = Hub.of(settings)
            hub = dataclasses.replace(hub, token=fields.get("HF_TOKEN") or hub.token)
            return missing_bytes(model, settings.models_dir, hub)
        except SandboxError:
            return None

    def _start_steps(self) -> list[Step]:
        return [
            Step("model", self._bring_model),
            Step("accounts", self._ensure_accounts, ("ui",)),
            # Not after the model: the service goes on with its download, and says how far it is.
            Step("services", self._ensure_services, ("check", "accounts")),
        ]

    def _ensure_settings(self, step: Context, fields: dict[str, str]) -> bool:
        paths = Paths.installed(self.box.root)
        present = self._values_in_file()
        if any(present.get(name, "") != value for name, value in fields.items()):
            # Before it is written: a run that is killed after that must be made up for by the next.
            self.record.note(RESTART_DUE, True)
        changed = users.ensure_users(step.commands)
        if not self.options.bake:
            sample = self.release / "ai-sandbox.env.sample"
            changed = env_file.set_values(paths.env_file, fields, sample) or changed
            users.ensure_env_file_is_readable(paths.env_file)
            if keys_file(paths.env_file).exists():
                users.ensure_env_file_is_readable(keys_file(paths.env_file))
            self.timeline.model = load(paths).settings.served_name
        self.settings = load(paths).settings
        changed = users.ensure_folders(self.settings, step.commands, step.say) or changed
        if changed:
            self.record.note(RESTART_DUE, True)
        if releases.target_of(self.box.current) is None:
            # Nothing serves yet; `ai-sandbox` works from here on, should a later step fail.
            releases.point(self.box.current, self.release)
        self._link_command()
        return changed

    def _link_command(self) -> None:
        command = self.box.command
        target = self.box.current / "base/bin/ai-sandbox"
        if not (command.is_symlink() and command.readlink() == target):
            command.parent.mkdir(parents=True, exist_ok=True)
            command.unlink(missing_ok=True)
            command.symlink_to(target)

    def _ensure_packages(self, step: Context) -> bool:
        python = self.release / "base/bin/python"
        note = self.record.add_packages
        return bool(toolchain.ensure_toolchain(self.has_gpu, python, step.commands, step.say, note))

    def _ensure_driver(self, step: Context) -> bool:
        note = self.record.add_packages
        return bool(driver.ensure_driver(step.commands, step.say, note, wanted=self.options.gpu))

    def _ensure_api(self, step: Context) -> bool:
        changed = self._ensure_environment(choose("api", self.has_gpu), step)
        return toolchain.ensure_cuda_links(self.release / "api") or changed

    def _ensure_ui(self, step: Context) -> bool:
        changed = self._ensure_environment(choose("ui", self.has_gpu), step)
        return services.check_page(self.release, step.commands) or changed

    def _ensure_environment(self, environment: Environment, step: Context) -> bool:
        return self.installer.make(in_release(environment), step.say)

    def _check_engine(self, step: Context) -> bool:
        return services.check_engine(self.release, step.commands)

    def _bring_model(self, step: Context) -> bool:
        """Begin the download early. What stops it is no failure: the service explains it."""
        command = [*users.as_user(users.API_USER), str(self.release / "base/bin/ai-sandbox")]

        def follow(line: str) -> None:
            step.say(line)
            percent = re.search(r"\((\d+)%", line)
            if percent:
                step.progress(float(percent.group(1)))

        # A line for each tenth of it.
        with contextlib.suppress(CommandFailed):
            step.commands.run([*command, "download"], follow, env=users.plain_environment())
        return False

    def _ensure_accounts(self, step: Context) -> bool:
        if systemctl.is_active(units.UI):
            # Its start has made them, and its restart will; no other program may use its database.
            return False
        # By the chat page's user: root does not open files that this user could exchange.
        command = [*users.as_user(users.UI_USER), str(self.release / "base/bin/ai-sandbox")]
        said = step.commands.run([*command, "ui", "--prepare"], env=users.plain_environment())
        return accounts.MADE in said

    def _ensure_services(self, step: Context) -> bool:
        # The service takes over the model's download where it is.
        self.runner.end("model")
        former = releases.target_of(self.box.current)
        # One that was left incomplete never served.
        has_served = (self.box.units / units.API).exists()
        if former in (None, self.release) or not has_served:
            restart = bool(self.record.get(RESTART_DUE)) or self._serves_another_model()
            changed = services.ensure_running(self.release, self.box, self.settings, restart)
        else:
            switch.to(self.release, self.box, self.settings, step.say)
            changed = True
        if self.record.get(RESTART_DUE):
            self.record.note(RESTART_DUE, False)
        return changed

    def _serves_another_model(self) -> bool:
        """True when the model of the env file could not take the place of the one that serves."""
        served = smoke.status(self.settings).get("model")
        return served is not None and served != self.settings.served_name

    def _ask(self, step: Context) -> bool:
        try:
            smoke.wait_for_model(self.settings, step.say)
            step.say(f"through the API: {smoke.ask_api(self.settings)!r}")
        except smoke.NotReadyError as error:
            # The installation did its part; the page on the API's port says what to do.
            step.say(f"the model does not answer: {error.message} {error.hint}")
            return True
        smoke.wait_for_page(self.settings)
        step.say(f"through the chat page: {smoke.ask_page(self.settings)!r}")
        return True

    def _finish(self, step: Context) -> bool:
        """Compile what no start has needed yet: the services may not write there."""
        return services.compile_bytecode(self.release, step.commands)


@contextlib.contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

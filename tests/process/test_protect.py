"""`ai-sandbox protect`, `keys` and `credentials` on both services while they run."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sandbox.ui import credentials, provision
from tests.process.api_service import COMMAND, environment, free_port, run, serving
from tests.process.processes import Program, running, wait_until

# Only against a hang.
START_S = 500
GIVEN = "sk-given-in-the-env-file"
# No model is needed to be let in or refused.
MODEL = "/nowhere"


@dataclass
class Box:
    """Both services, open at first and protected since."""

    folder: Path
    env_file: Path
    program: Program
    ports: dict[str, str]
    # What `protect` printed.
    said: str

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['API_PORT']}"

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.ports['UI_PORT']}"

    @property
    def first_key(self) -> str:
        """The key that `protect` made."""
        return shown_key(self.said)

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a verb prints; it must end with ``code``."""
        done = run(self.folder, *arguments, "--env-file", str(self.env_file), **self.ports)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ask(self, key: str) -> int:
        """The status of a request with ``key``."""
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.get(f"{self.api}/v1/models", headers=headers, timeout=60).status_code

    def sign_in(self, email: str, password: str) -> httpx.Response:
        form = {"email": email, "password": password}
        return httpx.post(f"{self.page}/api/v1/auths/signin", json=form, timeout=60)


def shown_key(said: str) -> str:
    (key,) = re.findall(r"^  (sk-[0-9a-f]{48})$", said, re.MULTILINE)
    return str(key)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("box")
    env_file = folder / "box.env"
    env_file.write_text("# mine\n")
    ports = {"API_PORT": str(free_port()), "UI_PORT": str(free_port()), "UI_HOST": "127.0.0.1"}
    settings = environment(folder, MODEL_ID=MODEL, **ports)
    command = [str(COMMAND), "up", "--env-file", str(env_file)]
    with running(command, folder, settings) as program:
        program.wait_for("The API cannot serve the model", START_S)
        program.wait_for("Chat page ready after", START_S)
        made = Box(folder, env_file, program, ports, "")
        assert made.ask("none") == 200
        assert made.sign_in("", "").status_code == 200
        made.said = made.run("protect")

        def is_back() -> bool:
            with contextlib.suppress(httpx.TransportError, ValueError):
                config = httpx.get(f"{made.page}/api/config", timeout=60).json()
                return "features" in config and config["features"]["auth"] is True
            return False

        wait_until(is_back, START_S, lambda: program.output[-6000:])
        yield made


def test_the_setting_is_in_the_file_and_the_rest_stays(box: Box) -> None:
    assert box.env_file.read_text().startswith("# mine\n")
    assert "ACCESS=protected\n" in box.env_file.read_text()


def test_the_api_wants_the_key_that_was_shown(box: Box) -> None:
    assert box.ask("none") == 401
    assert box.ask(box.first_key) == 200


def test_nobody_gets_into_the_chat_page_as_before(box: Box) -> None:
    assert box.sign_in("", "").status_code == 400
    assert box.sign_in(provision.VISITOR, "admin").status_code == 400


def test_the_shown_administrator_sees_the_model_through_the_chat_pages_own_key(box: Box) -> None:
    said = box.run("credentials")
    password = credentials.peek(box.folder / "open-webui", credentials.ADMIN_PASSWORD_FILE)
    assert password and password in said
    session = box.sign_in(credentials.ADMIN_EMAIL, password)
    headers = {"Authorization": f"Bearer {session.json()['token']}"}
    answer = httpx.get(f"{box.page}/api/models", headers=headers, timeout=60)
    assert [model["id"] for model in answer.json()["data"]] == [MODEL]


def test_a_key_is_accepted_at_once_and_refused_at_once(box: Box) -> None:
    key = shown_key(box.run("keys", "add", "alice"))
    assert box.ask(key) == 200
    listed = box.run("keys", "list")
    assert "alice" in listed
    assert "first" in listed
    box.run("keys", "remove", "alice")
    assert box.ask(key) == 401
    assert box.ask(box.first_key) == 200


def test_no_secret_is_anywhere_to_be_seen(box: Box) -> None:
    kept = [(box.folder / "open-webui" / name).read_text().strip() for name in credentials.FILES]
    secrets = [*kept, box.first_key]
    answers = [
        httpx.get(box.api + path, headers=headers).text
        for path in ("/", "/status", "/status/history", "/v1/models", "/metrics", "/no/such/route")
        for headers in ({}, {"Authorization": f"Bearer {box.first_key}"})
    ]
    answers += [httpx.get(box.page + path).text for path in ("/", "/api/config", "/api/v1/auths/")]
    verbs = [box.run(verb) for verb in ("settings", "check", "doctor")]
    verbs += [box.run("status", code=1), box.run("keys", "list")]
    lines = [_read(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdigit()]
    others = [
        _read(f"/proc/{pid}/environ")
        for pid in os.listdir("/proc")
        if pid.isdigit() and int(pid) not in box.program.living()
    ]
    for text in (*answers, *verbs, *lines, *others, box.program.output):
        assert not [secret for secret in secrets if secret in text], text[:2000]


def test_what_keeps_secrets_is_for_its_owner_alone(box: Box) -> None:
    data = box.folder / "open-webui"
    assert data.stat().st_mode & 0o777 == 0o700
    for name in credentials.FILES:
        assert (data / name).stat().st_mode & 0o777 == 0o600
    assert box.env_file.with_suffix(".keys").stat().st_mode & 0o027 == 0
    assert box.first_key not in box.env_file.with_suffix(".keys").read_text()


def _read(file: str) -> str:
    with contextlib.suppress(OSError):
        return Path(file).read_text(errors="replace")
    return ""


def test_an_api_alone_is_closed_and_opened(tmp_path: Path) -> None:
    env_file = tmp_path / "box.env"
    env_file.write_text("MODEL_ID=/nowhere\n")
    chosen = ["--env-file", str(env_file)]
    with serving(tmp_path, env_file) as service:
        service.wait_for("failed")
        port = service.url.rsplit(":", 1)[1]
        for off, needed in (([], True), (["--off"], False)):
            # The chat page is not there to follow.
            run(tmp_path, "protect", *off, *chosen, API_PORT=port)
            assert service.status()["key_needed"] is needed
            status = 401 if needed else 200
            assert httpx.get(f"{service.url}/v1/models").status_code == status
    assert "ACCESS=open\n" in env_file.read_text()


def test_without_services_the_next_start_follows(tmp_path: Path) -> None:
    env_file = tmp_path / "box.env"
    env_file.write_text(f"API_KEY={GIVEN}\n")
    done = run(tmp_path, "protect", "--env-file", str(env_file), API_PORT=str(free_port()))
    assert done.returncode == 0, done.stderr
    assert "its next start follows" in done.stdout
    # It has a key already.
    assert not env_file.with_suffix(".keys").exists()


def test_an_access_in_the_environment_of_the_service_is_said_to_win(tmp_path: Path) -> None:
    env_file = tmp_path / "box.env"
    env_file.write_text("MODEL_ID=/nowhere\n")
    with serving(tmp_path, env_file, ACCESS="open") as service:
        service.wait_for("failed")
        port = service.url.rsplit(":", 1)[1]
        done = run(tmp_path, "protect", "--env-file", str(env_file), API_PORT=port)
    assert done.returncode == 1
    assert "ACCESS in its environment" in done.stderr
    assert env_file.read_text() == "MODEL_ID=/nowhere\n"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["keys", "add"], 2, "needs the name of a key"),
        (["keys", "add", "a b"], 1, "cannot be called"),
        (["keys", "remove", "nobody"], 1, "There are no named keys"),
        (["credentials"], 1, "are made at its first start"),
    ],
)
def test_a_mistake_is_explained(
    tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    env_file = tmp_path / "box.env"
    env_file.touch()
    done = run(tmp_path, *arguments, "--env-file", str(env_file))
    assert done.returncode == code
    assert sentence in done.stderr

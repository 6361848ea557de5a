"""Where settings come from, what is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import reference
from sandbox.errors import ConfigError, ExitCode
from sandbox.paths import Paths
from sandbox.settings import NAMES, Loaded, default_model, load
from tests.standins import gpu_machine


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def load_text(folder: Path, text: str) -> Loaded:
    file = folder / "box.env"
    file.write_text(text)
    return load(Paths.installed(folder), file)


def refusal(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_text(folder, text)
    assert caught.value.exit_code is ExitCode.CONFIG
    return caught.value


def test_without_a_file_every_setting_has_its_default(tmp_path: Path) -> None:
    loaded = load(Paths.installed(tmp_path))
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.settings.api_port == 8000
    assert loaded.settings.models_dir == tmp_path / "opt/models"
    assert loaded.env_file is None


def test_on_a_box_the_card_chooses_the_default_model_before_its_driver_is_there(
    tmp_path: Path,
) -> None:
    assert default_model(False, tmp_path) == "builtin:guide"
    gpu_machine.add_card(tmp_path)
    assert default_model(False, tmp_path).startswith("mistralai/")
    assert default_model(True, tmp_path) == "builtin:guide"


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_PORT", "18000")
    loaded = load_text(tmp_path, "API_PORT=17000\nUI_PORT=13000\n")
    assert (loaded.settings.api_port, loaded.settings.ui_port) == (18000, 13000)
    assert loaded.origins["API_PORT"] == "environment"
    assert loaded.origins["UI_PORT"] == f"{tmp_path / 'box.env'} line 2"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("/models/$HOME/a", "/models/$HOME/a"),
        ("'/a b/#c'", "/a b/#c"),
        ('"/a\'b"', "/a'b"),
        ("/a`id`", "/a`id`"),
        ("/a # a comment", "/a"),
        ("", "builtin:guide"),
    ],
)
def test_values_are_data(tmp_path: Path, written: str, value: str) -> None:
    assert load_text(tmp_path, f"# first\n\nMODEL_ID={written}\n").settings.model_id == value


def test_an_unknown_name_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    error = refusal(tmp_path, "\n# x\n\nAPI_PROT=1\n")
    assert error.message == f"API_PROT ({tmp_path / 'box.env'} line 4) is not a setting."
    assert error.hint == "Did you mean API_PORT?"


def test_a_line_that_is_no_assignment_is_refused_with_its_number(tmp_path: Path) -> None:
    error = refusal(tmp_path, "API_PORT=1\nnonsense here\n")
    assert "line 2 is not an assignment" in error.message


@pytest.mark.parametrize("line", ["HF_TOKEN: hf_secret", "hf_secret", "HF_TOKEN hf_secret"])
def test_a_line_that_is_no_assignment_is_not_shown(tmp_path: Path, line: str) -> None:
    assert "hf_secret" not in str(refusal(tmp_path, line + "\n"))


@pytest.mark.parametrize("keys", [",", "' '", "' , ,'"])
def test_a_key_that_is_only_separators_is_refused(tmp_path: Path, keys: str) -> None:
    assert "API_KEY" in refusal(tmp_path, f"API_KEY={keys}\n").message


def test_a_folder_of_an_unknown_user_is_refused(tmp_path: Path) -> None:
    assert "MODELS_DIR" in refusal(tmp_path, "MODELS_DIR=~nobody-of-that-name/x\n").message


def test_a_broken_quote_does_not_show_the_value(tmp_path: Path) -> None:
    error = refusal(tmp_path, "HF_TOKEN='hf_secret\n")
    assert "line 1" in error.message
    assert "hf_secret" not in str(error)


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    error = refusal(tmp_path, "API_PORT=0\nACCESS=closed\nGPU_MEMORY_UTILIZATION=2\n")
    assert all(name in error.message for name in ("API_PORT", "ACCESS", "GPU_MEMORY_UTILIZATION"))
    assert "'closed'" in error.message
    assert "open or protected" in error.message


def test_a_wrong_secret_is_not_shown(tmp_path: Path) -> None:
    error = refusal(tmp_path, "API_KEY=short-1,abc\n")
    assert "API_KEY is a secret that is not shown" in error.message
    assert "short-1" not in str(error)


def test_one_setting_protects(tmp_path: Path) -> None:
    assert load_text(tmp_path, "ACCESS=protected\n").settings.access == "protected"


def test_the_named_keys_lie_beside_the_env_file(tmp_path: Path) -> None:
    assert load_text(tmp_path, "").keys_file.parent == tmp_path


@pytest.mark.parametrize("hosts", ["--trust-remote-code", "a b", "http://a.example", "a,-b"])
def test_what_is_no_list_of_hosts_is_refused(tmp_path: Path, hosts: str) -> None:
    assert "MEDIA_DOMAINS" in refusal(tmp_path, f"MEDIA_DOMAINS='{hosts}'\n").message


def test_both_ports_cannot_be_one(tmp_path: Path) -> None:
    assert "both 3000" in refusal(tmp_path, "API_PORT=3000\n").message


def test_several_keys_are_split(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "API_KEY=first-long-key, second-long-key\n")
    assert loaded.settings.api_keys == ("first-long-key", "second-long-key")


def test_a_secret_is_not_in_the_text_of_the_settings(tmp_path: Path) -> None:
    assert "a-long-key" not in repr(load_text(tmp_path, "API_KEY=a-long-key\n"))


def test_the_reference_page_is_what_the_settings_say() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run: make reference"


def test_the_sample_file_is_what_the_settings_say() -> None:
    assert reference.SAMPLE.read_text() == reference.sample(), "run: make reference"


def test_the_sample_file_is_right_when_uncommented(tmp_path: Path) -> None:
    lines = [
        line.removeprefix("# ")
        for line in reference.sample().splitlines()
        if line.removeprefix("# ").split("=")[0] in NAMES
    ]
    assert len(lines) == len(NAMES)
    examples = [line for line in lines if not line.startswith("API_KEY")]
    load_text(tmp_path, "\n".join([*examples, "API_KEY=a-long-enough-key"]))

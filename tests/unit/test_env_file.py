"""Writing the env file: what comes back, what is left alone, and what the fields are read as."""

from __future__ import annotations

import tempfile
from collections.abc import Container
from pathlib import Path

import pytest
from dotenv.parser import parse_stream
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import reference
from sandbox.env_file import UDFS, from_udf, set_values
from sandbox.errors import ConfigError, SandboxError
from sandbox.settings import NAMES, read_env_file

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
# What quoting has to survive, more often than chance brings it.
NASTY = st.text("'\"\\$`# =\n\r\t!{}()%;&a\ufeff\x85\u2028")
VALUES = st.dictionaries(st.sampled_from(NAMES), TEXT | NASTY, max_size=4)
LINES = st.lists(
    st.sampled_from(
        [
            "# a comment",
            "",
            "   ",
            "API_PORT=8000",
            "  export UI_PORT = 3000 # the page's",
            "HF_TOKEN='a # b' # c",
            'ACCESS="open"#close',
            "API_HOST= # none yet",
            "UI_HOST=#x",
            "MODEL_ID=a b#c  # d # e",
            "'MAX_MODEL_LEN'=auto",
            "API_KEY='two\nlines'",
            "# API_KEY=sk-...",
            "#ACCESS=protected",
            "# MODEL_ID is explained elsewhere",
        ]
    )
)


def values_of(file: Path) -> dict[str, str]:
    return {name: value.value for name, value in read_env_file(file).items()}


def written(folder: Path, text: str) -> Path:
    file = folder / "box.env"
    file.write_text(text)
    return file


@settings(max_examples=200, deadline=None)
@given(values=VALUES)
def test_what_was_typed_comes_back_unchanged(values: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "box.env"
        set_values(file, values, reference.SAMPLE)
        assert values_of(file) == {name: value for name, value in values.items() if value}


@settings(max_examples=200, deadline=None)
@given(lines=LINES, end=st.sampled_from(["\n", "\r\n", "\r"]), bom=st.booleans(), values=VALUES)
def test_the_other_lines_stay_as_they_are(
    lines: list[str], end: str, bom: bool, values: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "box.env"
        file.write_bytes(("\ufeff" * bom + end.join(lines)).encode())
        before, others = values_of(file), lines_without(file, values)
        set_values(file, values)
        assert lines_without(file, values) == others
        set_now = {name: value for name, value in values.items() if value or name in before}
        assert values_of(file) == {**before, **set_now}
        assert set_values(file, values) is False


def lines_without(file: Path, names: Container[str | None]) -> list[str]:
    """All that is in ``file`` but the assignments to ``names``."""
    with file.open() as stream:
        kept = [b.original.string.strip() for b in parse_stream(stream) if b.key not in names]
    return [text for text in kept if text]


def test_only_the_line_in_force_changes(tmp_path: Path) -> None:
    file = written(tmp_path, "# mine\n\nAPI_PORT=1\n\n  API_PORT = '2'# why\nUI_PORT=3\n")
    assert set_values(file, {"API_PORT": "4"})
    assert file.read_text() == "# mine\n\nAPI_PORT=1\n\n  API_PORT =4 # why\nUI_PORT=3\n"


def test_a_new_file_is_the_sample_with_the_values_in_their_places(tmp_path: Path) -> None:
    file = tmp_path / "box.env"
    assert set_values(file, {"MODEL_ID": "a/b", "API_KEY": "it's a key"}, reference.SAMPLE)
    sample = reference.SAMPLE.read_text()
    expected = sample.replace("# MODEL_ID=mistralai/Mistral-7B-Instruct-v0.3", "MODEL_ID=a/b")
    assert file.read_text() == expected.replace("# API_KEY=sk-...", 'API_KEY="it\'s a key"')
    assert file.stat().st_mode & 0o7777 == 0o640


def test_without_values_a_new_file_is_the_sample(tmp_path: Path) -> None:
    assert set_values(tmp_path / "box.env", {}, reference.SAMPLE)
    assert (tmp_path / "box.env").read_text() == reference.SAMPLE.read_text()


def test_a_persons_own_comment_is_kept_above_the_assignment(tmp_path: Path) -> None:
    file = written(tmp_path, "# HF_TOKEN=hf_old\nUI_PORT=3\n")
    set_values(file, {"HF_TOKEN": "hf_new"}, reference.SAMPLE)
    assert file.read_text() == "# HF_TOKEN=hf_old\nHF_TOKEN=hf_new\nUI_PORT=3\n"


def test_a_setting_that_is_nowhere_comes_at_the_end(tmp_path: Path) -> None:
    file = written(tmp_path, "UI_PORT=3")
    set_values(file, {"API_PORT": "4"})
    assert file.read_text() == "UI_PORT=3\nAPI_PORT=4\n"


def test_a_file_that_says_it_already_is_not_touched(tmp_path: Path) -> None:
    file = written(tmp_path, 'ACCESS="open"\n')
    before = file.stat()
    assert not set_values(file, {"ACCESS": "open", "HF_TOKEN": ""})
    assert file.stat() == before


def test_owner_and_mode_stay(tmp_path: Path) -> None:
    file = written(tmp_path, "UI_PORT=3\n")
    file.chmod(0o600)
    before = file.stat()
    set_values(file, {"UI_PORT": "4"})
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    file = written(tmp_path, "UI_PORT=3\n")
    link = tmp_path / "link.env"
    link.symlink_to(file)
    set_values(link, {"UI_PORT": "4"})
    assert link.is_symlink()
    assert values_of(file) == {"UI_PORT": "4"}


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    set_values(tmp_path / "box.env", {"UI_PORT": "4"})
    assert [file.name for file in tmp_path.iterdir()] == ["box.env"]


@pytest.mark.parametrize("value", ["hf_\0secret", "hf_secret\udcff"])
def test_what_cannot_be_written_is_refused_without_showing_it(tmp_path: Path, value: str) -> None:
    file = written(tmp_path, "UI_PORT=3\n")
    with pytest.raises(ConfigError) as caught:
        set_values(file, {"UI_PORT": "4", "HF_TOKEN": value})
    assert "HF_TOKEN" in caught.value.message
    assert "secret" not in str(caught.value)
    assert file.read_text() == "UI_PORT=3\n"


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a setting"):
        set_values(tmp_path / "box.env", {"MODEL": "x"})
    assert not list(tmp_path.iterdir())


def test_a_broken_file_is_left_alone(tmp_path: Path) -> None:
    file = written(tmp_path, "UI_PORT=3\nnonsense here\n")
    with pytest.raises(ConfigError, match="line 2"):
        set_values(file, {"UI_PORT": "4"})
    assert file.read_text() == "UI_PORT=3\nnonsense here\n"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="could not be written: No such file"):
        set_values(tmp_path / "none/box.env", {"UI_PORT": "4"})


def test_the_fields_become_settings() -> None:
    typed = {
        "MODEL_ID": "  a/b\n",
        "HF_TOKEN_PASSWORD": "hf_x",
        "ACCESS": "open",
        "API_KEY_PASSWORD": "",
        "MAX_MODEL_LEN": "8192",
        "LINODE_ID": "1",
        "API_PORT": "1",
    }
    assert from_udf(typed) == {
        "MODEL_ID": "a/b",
        "HF_TOKEN": "hf_x",
        "ACCESS": "open",
        "MAX_MODEL_LEN": "8192",
    }


def test_the_environment_of_this_process_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCESS", "opne")
    assert from_udf({"MODEL_ID": "a/b"}) == {"MODEL_ID": "a/b"}


def test_every_wrong_field_is_named_with_its_rule() -> None:
    with pytest.raises(ConfigError) as caught:
        from_udf({"ACCESS": "opne", "MAX_MODEL_LEN": "8k", "API_KEY_PASSWORD": "short"})
    assert caught.value.message.splitlines() == [
        "MAX_MODEL_LEN is '8k'; it must be auto or a whole number of tokens from 1.",
        "ACCESS is 'opne'; it must be open or protected.",
        "API_KEY is a secret that is not shown; it must be one or more keys of at least "
        "8 characters, separated by commas.",
    ]
    assert "short" not in str(caught.value)


def test_protected_without_a_key_gets_one_of_its_own() -> None:
    keys = {from_udf({"ACCESS": "protected"})["API_KEY"] for _ in range(3)}
    assert len(keys) == 3
    assert all(key.startswith("sk-") and len(key) >= 40 for key in keys)


def test_a_second_run_keeps_the_key() -> None:
    first = from_udf({"ACCESS": "protected"})
    assert "API_KEY" not in from_udf({"ACCESS": "protected"}, first)


def test_a_key_that_was_typed_is_taken() -> None:
    assert from_udf({"ACCESS": "protected", "API_KEY_PASSWORD": "my own long key"}) == {
        "ACCESS": "protected",
        "API_KEY": "my own long key",
    }


def test_every_field_fills_a_setting() -> None:
    assert set(UDFS.values()) <= set(NAMES)

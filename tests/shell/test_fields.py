"""The form that Linode makes from stackscript.sh, against the settings that it fills."""

from __future__ import annotations

import re

import pytest

from sandbox.env_file import UDFS, from_udf
from sandbox.settings import GPU_DEFAULT_MODEL, SECRETS, metadata
from tests.shell.machine import SCRIPT

TEXT = SCRIPT.read_text()
TAGS = [dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in re.findall("<UDF (.*) />\n", TEXT)]
FIELDS = {tag["name"]: tag for tag in TAGS}


def test_linode_takes_the_script() -> None:
    assert TEXT.startswith("#!/bin/bash\n")
    # With room for what a release stamps into it.
    assert len(TEXT.encode()) < 32_000


def test_the_fields_are_those_that_become_settings() -> None:
    assert [tag["name"] for tag in TAGS] == list(UDFS)
    assert TEXT.count("UDF") == len(UDFS)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_optional_and_says_what_it_is(name: str) -> None:
    assert re.fullmatch(r"\w{1,63}", name)
    assert "default" in FIELDS[name]
    assert FIELDS[name]["label"]


@pytest.mark.parametrize("name", FIELDS)
def test_a_secret_is_masked(name: str) -> None:
    assert (UDFS[name] in SECRETS) == ("password" in name.lower())


def test_the_form_left_as_it_is_gives_the_defaults() -> None:
    typed = {name: field["default"] for name, field in FIELDS.items()}
    assert from_udf(typed) == {
        "MODEL_ID": GPU_DEFAULT_MODEL,
        "ACCESS": "open",
        "MAX_MODEL_LEN": "auto",
    }


def test_what_can_be_chosen_is_what_the_setting_takes() -> None:
    assert FIELDS["ACCESS"]["oneOf"].split(",") == metadata("ACCESS")["rule"].split(" or ")

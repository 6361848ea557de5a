"""Where this machine is, by Linode's metadata service or without it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sandbox.host import addresses, linode
from tests.standins import metadata_service

INSTANCE = '{"id": 1, "type": "g2-gpu-rtx4000a1-s", "region": "us-ord"}'
NETWORK = '{"ipv4": {"public": ["203.0.113.7/32"], "private": []}}'
# Nothing listens there.
NOWHERE = "http://127.0.0.1:1"


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """The address of a metadata service that runs as a process of its own."""
    command = [sys.executable, metadata_service.__file__, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


def test_plan_and_public_address_are_asked_for() -> None:
    with serving("--instance", INSTANCE, "--network", NETWORK) as service:
        said = linode.instance(service)
    assert said == linode.Instance("g2-gpu-rtx4000a1-s", "203.0.113.7")


def test_a_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", NOWHERE)
    with serving("--instance", INSTANCE, "--network", NETWORK) as service:
        assert linode.public_address(service) == "203.0.113.7"


def test_one_answer_that_fails_does_not_hide_the_other() -> None:
    with serving("--instance", INSTANCE) as service:
        assert linode.instance(service).plan == "g2-gpu-rtx4000a1-s"


@pytest.mark.parametrize("network", ["{}", "no json", '{"ipv4": {"public": []}}', "[]"])
def test_an_answer_without_an_address_is_none(network: str) -> None:
    with serving("--instance", INSTANCE, "--network", network) as service:
        assert linode.instance(service).address is None


def test_a_machine_elsewhere_has_its_own_address() -> None:
    assert linode.instance(NOWHERE) == linode.Instance(None, None)
    assert linode.public_address(NOWHERE) == next(iter(addresses.own_address()), None)


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert addresses.url("::1", 8000, "/v1") == "http://[::1]:8000/v1"

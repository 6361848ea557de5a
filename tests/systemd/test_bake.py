"""A golden image: everything that belongs to no machine is there, and a first boot only starts."""

from __future__ import annotations

import pytest

from tests.systemd.boxes import SOURCE, box, registry_settings
from tests.systemd.chats import ask_api, ask_page, guide_answer
from tests.systemd.conftest import both_ready

# Of one machine: none of it belongs into an image.
TRACES = (
    "/etc/ai-sandbox.env",
    "/var/log/stackscript.log",
    "/var/log/ai-sandbox",
    "/opt/ai-sandbox/cache",
    "/root/.cache",
)


@pytest.mark.timeout(1200)
@pytest.mark.long
def test_a_first_boot_of_a_baked_image_configures_and_starts() -> None:
    with box() as machine:
        machine.add_source()
        machine.share_package_cache()
        machine.boot()
        bake = f"{SOURCE}/stackscript.sh --bake"
        source = {"AI_SANDBOX_SOURCE": SOURCE}
        baked = machine.run(bake, seconds=600, environment=registry_settings() | source).stdout
        assert "Baked" in baked
        assert machine.has("/opt/ai-sandbox/releases/*/api")
        for trace in TRACES:
            assert not machine.has(trace), trace
        assert machine.state("ai-sandbox-api") == "inactive"
        machine.power_off()

        machine.boot()
        done = machine.stackscript(600, MODEL_ID="builtin:guide")
        for step in ("Environment of the API", "Environment of the chat page", "Check of the engi"):
            (line,) = [line for line in done.stdout.splitlines() if f" s  {step}" in line]
            assert line.endswith("nothing to do"), line
        both_ready()
        question, answer = guide_answer()
        assert ask_api(question) == answer
        assert ask_page(question) == answer

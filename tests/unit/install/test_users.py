"""What programs of the services' users are started with."""

from __future__ import annotations

import pytest

from sandbox.install import users


def test_proxies_reach_our_programs_and_settings_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "NO_PROXY", "MODEL_ID", "HF_TOKEN"):
        monkeypatch.setenv(name, "x")
    found = users.plain_environment()
    assert {"https_proxy", "HTTPS_PROXY", "NO_PROXY"} <= set(found)
    assert not {"MODEL_ID", "HF_TOKEN"} & set(found)

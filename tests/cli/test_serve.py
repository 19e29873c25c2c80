"""`metagym serve`."""

from __future__ import annotations

import pytest

from metagym.models import local_server
from tests.cli.conftest import Metagym


def test_serve_prints_its_address_and_ends_with_the_servers_code(
    command: Metagym, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stub(local_server.ModelServer):
        def start(self) -> local_server.ModelServer:
            return self

        def wait(self) -> int:
            return 3

    monkeypatch.setattr("metagym.models.ModelServer", Stub)
    done = command("serve", "tiny", "--engine", "vllm", "--port", 8123)
    assert done.code == 3
    assert "tiny answers at http://127.0.0.1:8123/v1" in done.out
    assert "metagym run MetaGym/Gates-v0 --actor tiny@http://127.0.0.1:8123/v1" in done.out
    assert "must be 'vllm' or 'transformers', got 'tgi'" in command("serve", "tiny", "--engine", "tgi").err

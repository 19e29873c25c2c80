"""The pack of rooms."""

from __future__ import annotations

from metagym.envs.alfworld.generated.rooms import PACK, read_pack


def test_the_pack_is_small_and_names_its_origin() -> None:
    assert PACK.stat().st_size < 1_000_000
    notice = PACK.with_name("NOTICE").read_text(encoding="utf-8")
    assert "Copyright (c) 2020 Mohit Shridhar" in notice
    assert "MIT License" in notice
    assert len(read_pack().rooms) == 120

"""Both record stores return what was put, by kind and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metagym.budget import BudgetUse
from metagym.runs import Learned, Manifest, Measurement, MemoryStore, RecordStore, Role, RunFolder, measure
from metagym.types import MetaStep, Reflection
from tests.conftest import make_meta_step, make_trajectory

MANIFEST = Manifest(env_id="MetaGym/Gates-v0", reflector="demo", seed=1, num_steps=4)
LEARNED = Learned(
    family="law-0000", seed=1, prompts=("p",), outlays=(BudgetUse(),), total=BudgetUse(), usage={}, num_meta_steps=0
)
MEASUREMENT = measure("law-0000", 1, Role.ONLINE, index=0, prompt="p", trajectories=(make_trajectory(),))


@pytest.fixture(params=["memory", "folder", "folder opened again"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> RecordStore:
    """A store that holds two reflections, a meta-step, a measurement and what one meta-episode learned."""
    store: RecordStore
    store = MemoryStore(MANIFEST) if request.param == "memory" else RunFolder.create(tmp_path / "run", MANIFEST)
    store.record_episode(make_trajectory())
    store.put(("arm", 1), Reflection(prompt="second"))
    store.put(("arm", 0), Reflection(prompt="first"))
    store.put(0, make_meta_step())
    store.put(MEASUREMENT.key, MEASUREMENT)
    store.put(LEARNED.key, LEARNED)
    store.close()
    return RunFolder.open(tmp_path / "run") if "again" in request.param else store


@pytest.mark.parametrize(
    ("kind", "key", "record"),
    [
        (Reflection, ("arm", 0), Reflection(prompt="first")),
        (MetaStep, 0, make_meta_step()),
        (Measurement, ("law-0000", 1, "online", 0), MEASUREMENT),
        (Learned, ("law-0000", 1), LEARNED),
    ],
)
def test_a_record_comes_back_by_its_kind_and_key(kept: RecordStore, kind: Any, key: Any, record: Any) -> None:
    assert kept.get(kind, key) == kept.all(kind)[key] == record
    assert kept.get(kind, "another key") is None


def test_records_are_listed_in_the_order_in_which_they_were_put(kept: RecordStore) -> None:
    assert list(kept.all(Reflection)) == [("arm", 1), ("arm", 0)]


def test_a_later_record_takes_the_place_of_an_earlier_one(kept: RecordStore) -> None:
    kept.put(("arm", 0), Reflection(prompt="new"))
    assert [item.prompt for item in kept.all(Reflection).values()] == ["second", "new"]
    kept.close()

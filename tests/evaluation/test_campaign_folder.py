"""The folder of a campaign: arms that were begun otherwise are found before anything is played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from metagym.envs.gates.demo import GatesDemoReflector
from metagym.errors import RunFolderError
from metagym.evaluation.arena import Entrant, run_arena
from metagym.evaluation.campaign import run_campaign, run_streams
from metagym.evaluation.campaign_folder import CAMPAIGN, Campaign
from metagym.evaluation.extension import extend_campaign
from metagym.evaluation.preset import Preset, PresetEnvironment
from metagym.optimizers import InTurn
from metagym.reflectors import as_reflector
from metagym.runs import read_record
from metagym.types import MetaStep

SIZE = {"num_seeds": 1, "num_steps": 1, "num_validation": 1, "num_test": 2}
Run = Callable[..., Any]


def small(*controls: str, families: Sequence[str] = ("law-0007",), protocol: str = "ict", **update: Any) -> Preset:
    place = PresetEnvironment(id="MetaGym/Gates-v0", families=tuple(families), train_families=("law-0100",))
    fields = {**SIZE, "name": "small", "protocol": protocol, "controls": controls, "environments": (place,), **update}
    return Preset.model_validate({"episodes_per_step": (2,), **fields})


def shout(history: Sequence[MetaStep]) -> str:
    return history[-1].prompt + "!"


def in_arena(preset: Preset, *, reflector: Any, **arguments: Any) -> Any:
    """Play one method that is new each time, and one that is always named `mine`."""
    own = as_reflector(GatesDemoReflector() if reflector == "demo" else shout)
    entrants = [Entrant(f"new-{reflector == 'demo'}", own, InTurn(1)), Entrant("mine", own, InTurn(1))]
    return run_arena(preset, entrants, actor="demo", **arguments)


def in_campaign(preset: Preset, **arguments: Any) -> Any:
    return run_campaign(preset, actor="demo", **arguments)


def in_streams(preset: Preset, **arguments: Any) -> Any:
    return run_streams(preset, actor="demo", **arguments)


@pytest.mark.parametrize(
    ("run", "preset"),
    [
        (in_campaign, small("permuted outcomes")),
        (in_campaign, small("long prompt", num_steps=2)),
        (in_campaign, small("constant prompt", num_steps=5, num_validation=4)),
        (in_arena, small()),
        (in_streams, small("same again", families=("law-0007", "law-0500"), protocol="stream")),
    ],
)
def test_an_arm_that_was_begun_with_another_reflector_is_refused_before_anything_is_played(
    tmp_path: Path, run: Run, preset: Preset
) -> None:
    run(preset, reflector="demo", path=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunFolderError, match="cannot be resumed, because its fingerprint differs"):
        run(preset, reflector=shout, path=tmp_path, on_episode=lambda item: pytest.fail("an episode was played"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_tuning_that_was_begun_otherwise_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    in_campaign(small("constant prompt"), reflector="demo", path=tmp_path)
    (place,) = small().environments
    other = (place.model_copy(update={"train_families": ("law-0101",)}),)
    preset = small("no reflection", "constant prompt", environments=other)
    with pytest.raises(RunFolderError, match=r"tuning-demo cannot be resumed, because its fingerprint differs"):
        in_campaign(
            preset,
            reflector="demo",
            path=tmp_path,
            on_episode=lambda item: pytest.fail("an episode was played"),
        )


def test_a_refused_call_leaves_no_campaign_behind(tmp_path: Path) -> None:
    preset = small("permuted outcomes")
    in_campaign(preset, reflector=shout, path=tmp_path)
    with pytest.raises(RunFolderError, match="its fingerprint differs"):
        in_campaign(preset, reflector="demo", path=tmp_path)
    assert not (tmp_path / CAMPAIGN).exists()


def logs_in(folder: Path) -> dict[str, bytes]:
    return {str(log.relative_to(folder)): log.read_bytes() for log in folder.rglob("log.jsonl")}


def test_only_the_arms_of_the_campaign_get_new_seeds(tmp_path: Path) -> None:
    in_campaign(small(), reflector="demo", path=tmp_path)
    in_campaign(small("permuted outcomes"), reflector=shout, path=tmp_path)
    before = logs_in(tmp_path)
    (extended,) = extend_campaign(tmp_path, 2)
    assert [report.looks for report in extended.reports] == [(1, 2)]
    after = logs_in(tmp_path)
    assert {name for name in before if after[name] != before[name]} == {"gates-v0-k2/demo/log.jsonl"}


def test_a_later_call_adds_its_controls_and_seeds_to_the_campaign(tmp_path: Path) -> None:
    in_campaign(small("no reflection"), reflector="demo", path=tmp_path)
    in_campaign(small(), reflector="demo", path=tmp_path, controls=("same again",))
    extend_campaign(tmp_path, 2)
    in_campaign(small(), reflector=shout, path=tmp_path)
    kept = read_record(tmp_path / CAMPAIGN, Campaign)
    assert (kept.controls, kept.preset.num_seeds) == (("no reflection", "same again"), 2)


def test_a_control_that_is_added_after_an_extension_plays_the_seeds_of_the_folder(tmp_path: Path) -> None:
    in_campaign(small(), reflector="demo", path=tmp_path)
    extend_campaign(tmp_path, 3)
    ((_, (own, control), (compared,)),) = in_campaign(small("no reflection"), reflector="demo", path=tmp_path)
    assert (own.looks, control.looks) == ((1, 3), (3,))
    assert (len(control.prompts), compared.looks) == (3, (1, 3))
    ((_, again, _),) = in_campaign(small("no reflection"), reflector="demo", path=tmp_path)
    assert again == (own, control)
    assert extend_campaign(tmp_path, 3)[0].reports == again
    ((_, longer, _),) = extend_campaign(tmp_path, 4)
    assert [report.looks for report in longer] == [(1, 3, 4), (3, 4)]

"""A campaign evaluates every arm of a preset into one folder, and refuses what cannot be played before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metagym.envs.gates.demo import GatesDemoReflector
from metagym.errors import ConfigError, RunFolderError
from metagym.evaluation.arena import run_arena
from metagym.evaluation.campaign import run_campaign
from metagym.evaluation.campaign_folder import folder_of
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.constant_prompt import tune_constant_prompt, tuning_folder
from metagym.evaluation.controls import FILLER, long_prompt
from metagym.evaluation.extension import extend_campaign
from metagym.evaluation.preset import PresetEnvironment, load_preset
from metagym.reflectors import as_reflector
from metagym.runs import evaluation_size
from metagym.types import MetaStep
from tests.conftest import MakeGates, Serve


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"actor": "demo"}, "'actor' is not an option of the environment: write --actor"),
        ({"schedule": "same"}, "'schedule' is not an option of the environment: a protocol plays fresh tasks"),
        ({"max_step": 3}, "Unknown option 'max_step'.* Did you mean 'max_steps'"),
    ],
)
def test_an_option_of_a_preset_that_would_be_ignored_is_refused(
    tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    preset = load_preset("ict-small")
    changed = tuple(item.model_copy(update={"options": options}) for item in preset.environments)
    with pytest.raises(ConfigError, match=problem):
        run_campaign(preset.model_copy(update={"environments": changed}), actor="demo", reflector="demo", path=tmp_path)


def test_evaluations_that_would_share_a_folder_are_refused_before_anything_is_played(tmp_path: Path) -> None:
    preset = load_preset("ict-small")
    (place,) = preset.environments
    other = place.model_copy(update={"families": ("law-0500",), "options": {"max_steps": 12}})
    twice = preset.model_copy(update={"environments": (place, other)})
    with pytest.raises(ConfigError, match=r"records have different folders, got gates-v0-k5 twice"):
        run_campaign(twice, actor="demo", reflector="demo", path=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_control_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"actor": "demo", "reflector": "demo", "path": tmp_path}
    with pytest.raises(ConfigError, match="Expected each control once, got 'same again' twice"):
        run_campaign(load_preset("ict-small"), **arguments, controls=["same again", "same again"])


@pytest.mark.parametrize(
    ("control", "place", "k", "problem"),
    [
        ("other family", {"train_families": ()}, 5, "needs families other than those evaluated"),
        ("other family", {"train_families": ("law-0007",)}, 5, "needs families other than those evaluated"),
        ("permuted outcomes", {}, 1, "Expected a batch of at least 2 episodes to permute outcomes across, got 1"),
        (
            "constant prompt",
            {"train_families": ()},
            5,
            r"meta-train families .* got \[\] beside \['law-0007'\]",
        ),
        ("constant prompt", {"train_families": ("law-0007",)}, 5, "Expected meta-train families other than those"),
    ],
)
def test_a_control_that_cannot_be_made_is_refused_before_anything_is_played(
    tmp_path: Path, control: str, place: dict[str, Any], k: int, problem: str
) -> None:
    preset = load_preset("ict-small")
    (own,) = preset.environments
    places = (own.model_copy(update={"families": ("law-0007",), **place}),)
    changed = preset.model_copy(update={"environments": places, "controls": (control,), "episodes_per_step": (k,)})
    with pytest.raises(ConfigError, match=problem):
        run_campaign(changed, actor="demo", reflector="demo", path=tmp_path)
    with pytest.raises(ConfigError, match=problem):
        run_arena(changed, ["fixed"], actor="demo", path=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_constant_prompt_without_validation_tasks_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    preset = load_preset("ict-small").model_copy(update={"controls": ("constant prompt",), "num_validation": 0})
    with pytest.raises(ConfigError, match="validation tasks to choose a constant prompt on, got num_validation=0"):
        run_campaign(preset, actor="demo", reflector="demo", path=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_campaign_evaluates_all_arms_and_resumes_in_its_folder(tmp_path: Path) -> None:
    update = {"num_seeds": 2, "num_steps": 2, "num_validation": 3, "num_test": 3}
    preset = load_preset("ict-small").model_copy(update=update)
    played: list[Any] = []

    def run() -> Any:
        return run_campaign(preset, actor="demo", reflector="demo", path=tmp_path, on_episode=played.append)

    (first,) = run()
    assert [report.arm for report in first.reports] == ["demo", *preset.controls]
    assert [found.second for found in first.comparisons] == list(preset.controls)
    assert [report.kind for report in first.reports] == ["method", "same again", *["null control"] * 6]
    most = 8 * evaluation_size(dict(first.reports[0].config))[1]
    assert most // 2 < len(played) < most + 500
    played.clear()
    assert run() == [first]
    assert not played


def padded(history: Sequence[MetaStep]) -> str:
    """Write prompts whose lengths differ from seed to seed."""
    return history[0].prompt + "!" * (history[0].trajectories[0].episode.seed % 1_000)


def test_the_long_prompt_is_as_long_as_what_was_learned_and_stays(tmp_path: Path) -> None:
    update = {"num_seeds": 2, "num_steps": 2, "num_validation": 3, "num_test": 3, "controls": ("long prompt",)}
    preset = load_preset("ict-small").model_copy(update=update)
    named = f"{__name__}:{padded.__name__}"
    ((_, (method, control), _),) = run_campaign(preset, actor="demo", reflector=named, path=tmp_path)
    (text,) = {item.last_prompt for item in control.prompts}
    lengths = [len(item.last_prompt) for item in method.prompts]
    assert abs(len(text) - sum(lengths) / len(lengths)) <= len(FILLER)
    first = next(item.prompt for item in method.tests if item.index == 0)
    assert set(text.removeprefix(first).splitlines()) <= {"", FILLER}
    ((_, (longer, control), _),) = extend_campaign(tmp_path, 4)
    assert long_prompt(first, [item.last_prompt for item in longer.prompts]) != text
    assert {item.last_prompt for item in control.prompts} == {text}


def shout(history: Sequence[MetaStep]) -> str:
    return history[-1].prompt + "!" * 100


def test_the_long_prompt_of_another_method_is_refused(tmp_path: Path) -> None:
    update = {"num_seeds": 1, "num_steps": 1, "num_validation": 1, "num_test": 1, "controls": ("long prompt",)}
    preset = load_preset("ict-small").model_copy(update=update)
    run_campaign(preset, actor="demo", reflector="demo", path=tmp_path)
    with pytest.raises(RunFolderError, match=r"long-prompt cannot be resumed, because its fingerprint differs"):
        run_campaign(preset, actor="demo", reflector=shout, path=tmp_path)


def test_the_tuning_of_another_reflector_or_protocol_is_refused(make_gates: MakeGates, tmp_path: Path) -> None:
    sizes = {"num_steps": 1, "num_seeds": 1, "num_validation": 2, "num_test": 1}
    config = EvaluationConfig(families=("law-0007",), **sizes)
    about: dict[str, Any] = {"train_families": ["law-0100"], "path": tmp_path}
    tuned = tune_constant_prompt(make_gates(), "demo", config=config, **about)
    assert tune_constant_prompt(make_gates(), "demo", config=config, **about) == tuned
    more = config.model_copy(update={"num_steps": 2})
    for reflector, other in ((shout, config), ("demo", more)):
        with pytest.raises(RunFolderError, match="its fingerprint differs"):
            tune_constant_prompt(make_gates(), reflector, config=other, **about)
    with pytest.raises(RunFolderError, match="its fingerprint differs"):
        tune_constant_prompt(make_gates(), "demo", config=config, **{**about, "train_families": ["law-0333"]})


def test_a_tuning_of_an_earlier_version_is_used_for_its_own_reflector(make_gates: MakeGates, tmp_path: Path) -> None:
    config = EvaluationConfig(families=("law-0007",), num_steps=1, num_seeds=1, num_validation=1, num_test=1)
    reflector = GatesDemoReflector()
    assert tuning_folder(tmp_path, "demo", reflector) == tmp_path / "tuning-demo"
    tune_constant_prompt(make_gates(), reflector, config=config, train_families=["law-0100"], path=tmp_path / "tuning")
    assert tuning_folder(tmp_path, "demo", reflector) == tmp_path / "tuning"
    assert tuning_folder(tmp_path, "shout", as_reflector(shout)) == tmp_path / "tuning-shout"


def test_the_sampling_of_a_preset_reaches_the_servers(tmp_path: Path, serve: Serve) -> None:
    server = serve("ANALYSIS: So.\nIMPROVED PROMPT: Push.\nAction: push")
    update = {"num_seeds": 1, "num_steps": 1, "num_validation": 1, "num_test": 1, "episodes_per_step": (1,)}
    sampling = {"sampling": {"temperature": 0.5, "max_tokens": 60}, "reflector_sampling": {"max_tokens": 70}}
    preset = load_preset("ict-small").model_copy(update={**update, **sampling})
    model = {"model": "m", "base_url": server.base_url}
    run_campaign(preset, actor=model, reflector=model, path=tmp_path, controls=())
    sent = {(request.body.get("temperature"), request.body["max_tokens"]) for request in server.requests}
    assert sent == {(0.5, 60), (None, 70)}


def test_a_folder_of_a_users_class_carries_no_colon(tmp_path: Path) -> None:
    environment = PresetEnvironment(id="my.games:LampMetaEnv", families=("a",))
    folder = folder_of(tmp_path, environment, EvaluationConfig(episodes_per_step=3))
    assert folder == tmp_path / "my.games-lampmetaenv-k3"

"""Presets: the shipped ones load, and a file that is not one is refused with its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metagym.env import MetaEnv
from metagym.errors import ConfigError, UnknownNameError
from metagym.evaluation.arena import run_arena
from metagym.evaluation.arena.run import arena_configs
from metagym.evaluation.campaign import run_campaign, run_streams
from metagym.evaluation.controls import check_control
from metagym.evaluation.planned_use import plan
from metagym.evaluation.preset import load_preset, preset_for, preset_names, with_fields, with_members, with_sampling
from metagym.runs import RunFolder
from metagym.tasks import ListedTaskSet, TaskSet
from tests.conftest import CorridorEnv, make_task


@pytest.mark.parametrize("name", preset_names())
def test_a_shipped_preset_gives_one_evaluation_for_each_environment_and_k(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert len(preset.configs()) == len(preset.environments) * len(preset.episodes_per_step)


@pytest.mark.parametrize("name", preset_names())
def test_every_control_of_a_shipped_preset_can_be_made(name: str) -> None:
    preset = load_preset(name)
    for place, config in preset.configs():
        for control in preset.controls:
            k = config.episodes_per_step
            check_control(control, families=config.families, train_families=place.train_families, episodes_per_step=k)


def test_the_preset_of_the_paper_states_its_sampling_and_a_models_own_goes_over_it() -> None:
    preset = load_preset("ict")
    assert with_sampling({"model": "m"}, preset.sampling)["sampling"] == {"temperature": 0.0, "max_tokens": 500}
    own = {"model": "m", "sampling": {"max_completion_tokens": 9}}
    assert with_sampling(own, preset.sampling)["sampling"] == {"temperature": 0.0, "max_completion_tokens": 9}


@pytest.mark.parametrize("name", ["ict", "ict-paper-line", "ict-small", "stream"])
def test_presets_have_the_a_a_run_and_controls_by_default(name: str) -> None:
    controls = load_preset(name).controls
    assert controls[:2] == ("same again", "no reflection")
    assert len(controls) >= 4


def test_the_papers_line_differs_from_ict_in_the_task_line_and_the_steps_only() -> None:
    ict, line = load_preset("ict"), load_preset("ict-paper-line")
    plain = [environment.model_copy(update={"options": {}}) for environment in line.environments]
    assert tuple(plain) == ict.environments
    assert [environment.options for environment in line.environments] == [
        {"max_steps": 25},
        {"goal": "paper_task_line", "max_steps": 25},
    ]
    assert line.model_dump(exclude={"name", "about", "guessed", "environments"}) == ict.model_dump(
        exclude={"name", "about", "guessed", "environments"}
    )


@pytest.mark.parametrize("spec", ["demo", {"model": "demo"}, {"method": "fixed"}, print])
def test_what_is_no_language_model_gets_no_sampling(spec: Any) -> None:
    assert with_sampling(spec, {"temperature": 0.0}) is spec


def test_an_unknown_name_and_an_unknown_field_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown preset 'itc'.* Did you mean 'ict'.* your own .toml file"):
        load_preset("itc")
    (tmp_path / "mine.toml").write_text('num_step = 3\n[[environments]]\nid = "a"\nfamilies = ["b"]\n')
    with pytest.raises(ConfigError, match=r"field of the preset .*mine.toml 'num_step'.* Did you mean 'num_steps'"):
        load_preset(str(tmp_path / "mine.toml"))


def test_a_preset_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"Expected a preset in TOML at .*mine.toml"):
        load_preset(str(tmp_path / "mine.toml"))


TWICE = """
episodes_per_step = [2]
controls = ["same again"]
[[environments]]
id = "MetaGym/Gates-v0"
families = ["law-0007"]
train_families = ["law-0001"]
"""


@pytest.mark.parametrize(
    ("once", "twice", "problem"),
    [
        ("[2]", "[2, 2]", "Expected each k of episodes_per_step once, got 2 twice"),
        ('["same again"]', '["same again", "same again"]', "Expected each control once, got 'same again' twice"),
        ('["law-0007"]', '["law-0007", "law-0007"]', "Expected each family once, got 'law-0007' twice"),
        ('["law-0001"]', '["law-0001", "law-0001"]', "Expected each family of train_families once, got 'law-0001'"),
    ],
)
def test_what_a_preset_names_twice_is_refused(tmp_path: Path, once: str, twice: str, problem: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TWICE.replace(once, twice))
    with pytest.raises(ConfigError, match=problem):
        load_preset(str(file))


def test_what_an_option_of_an_evaluation_names_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expected each family once, got 'law-0007' twice"):
        preset_for("MetaGym/Gates-v0", families=["law-0007", "law-0007"])
    with pytest.raises(ConfigError, match="Expected each k of episodes_per_step once, got 3 twice"):
        with_fields(load_preset("ict-small"), {"episodes_per_step": [3, 3]})


@pytest.mark.parametrize("control", ["no reflection", "constant prompt", "long prompt"])
def test_a_control_that_asks_no_reflector_is_planned_without_reflections(control: str) -> None:
    configs = preset_for("MetaGym/Gates-v0", families=["law-0007"]).configs()
    alone, beside = (plan(configs, controls=controls)[0] for controls in ((), (control,)))
    assert beside.num_arms == 2
    assert beside.num_reflections == alone.num_reflections


class GroupedMetaEnv(MetaEnv):
    """Three families, two of them in a group."""

    def make_inner_env(self) -> CorridorEnv:
        return CorridorEnv()

    def make_task_set(self) -> TaskSet:
        tasks = [make_task(f"task-{number}", family="abc"[number % 3], seed=number, split="") for number in range(90)]
        return ListedTaskSet(tasks, groups={"ab": ("a", "b")})


def test_a_group_of_families_is_planned_as_its_members() -> None:
    preset = preset_for(f"{__name__}:GroupedMetaEnv", families=["ab"])
    assert preset.environments[0].families == ("a", "b")
    assert plan(preset.configs())[0].num_families == 2


GROUPS = f"""
num_steps = 1
episodes_per_step = [1]
num_seeds = 1
num_validation = 1
num_test = 1
[[environments]]
id = "{__name__}:GroupedMetaEnv"
families = ["ab"]
"""


@pytest.mark.parametrize("protocol", ["ict", "stream", "arena"])
def test_a_group_of_families_in_a_preset_is_counted_and_recorded_as_its_members(tmp_path: Path, protocol: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text((f'protocol = "{protocol}"' if protocol != "arena" else "") + GROUPS)
    preset, sizes = load_preset(str(file)), []
    shared: dict[str, Any] = {"actor": "random", "path": tmp_path / "runs", "on_arm": lambda _, num: sizes.append(num)}
    if protocol == "arena":
        (bout,) = run_arena(preset, ["fixed"], **shared)
        folder, families = bout.folder / "fixed", bout.standings.families
        configs = arena_configs(with_members(preset))
    else:
        run: Callable[..., Any] = run_streams if protocol == "stream" else run_campaign
        (done,) = run(preset, reflector="fixed", **shared)
        folder, families = done.folder / "fixed", done.reports[0].config.families
        configs = with_members(preset).configs()
    with RunFolder.open(folder) as played:
        assert sizes == [played.manifest.size[1]]
    assert (families, configs[0][0].families) == (("a", "b"), ("a", "b"))
    (planned,) = plan(configs, is_stream=protocol == "stream")
    assert (planned.num_families, planned.num_episodes) == (2, sizes[0])

"""The meta-environment over ALFWorld."""

from __future__ import annotations

import json

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.generated.games import task_id
from metagym.envs.alfworld.meta import ALFWorldMetaEnv
from metagym.errors import ConfigError, MissingExtraError, UnknownNameError
from metagym.registration import make_alfworld_vector


def test_it_passes_gymnasiums_checker() -> None:
    with ALFWorldMetaEnv("demo", data="generated", families=["pick-and-place"]) as env:
        check_env(env, skip_render_check=True)


def test_it_is_made_by_entry_point_and_its_spec_is_json() -> None:
    spec = gymnasium.envs.registration.EnvSpec(
        id="Test/ALFWorld-v0", entry_point="metagym.envs.alfworld.meta:ALFWorldMetaEnv", max_episode_steps=10
    )
    with gymnasium.make(spec, actor="demo", data="generated", families=["paper-test"], split="test") as env:
        assert env.spec is not None
        again = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
        assert again.kwargs == env.spec.kwargs
        _, info = env.reset(seed=0)
        trajectories, reward, *_ = env.step(info["default_prompt"])
    assert {item.task.family for item in trajectories} == {"pick_cool_then_place_in_recep", "pick_two_obj_and_place"}
    assert {item.task.split for item in trajectories} == {"test"}
    assert 0.0 <= reward <= 1.0


def test_a_batch_takes_the_families_in_turn() -> None:
    with ALFWorldMetaEnv("demo", data="generated") as env:
        env.reset(seed=0)
        trajectories, *_ = env.step(env.default_prompt)
    assert len({item.task.family for item in trajectories}) == 5


def test_records_say_generated() -> None:
    with ALFWorldMetaEnv("demo", data="generated") as env:
        env.reset(seed=0)
        *_, info = env.step(env.default_prompt)
        assert all(name.startswith("generated/") for name in info["task_ids"])
        assert env.fingerprint["inner"]["data"] == "generated"


def test_the_fingerprint_records_data_engine_spelling_and_source() -> None:
    with (
        ALFWorldMetaEnv("demo", data="generated") as env,
        ALFWorldMetaEnv("demo", data="generated", accept_both_spellings=True) as other,
    ):
        inner = env.fingerprint["inner"]
        assert inner == {
            "data": "generated",
            "data_digest": inner["data_digest"],
            "num_generated_among_official": 0,
            "source": "generated",
            "spelling": "move",
            "accept_both_spellings": False,
            "engine": "native",
            "packages": {},
        }
        assert json.loads(json.dumps(inner)) == inner
        assert other.fingerprint != env.fingerprint


def test_official_games_are_played_if_alfworld_data_is_set(
    official: GameCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert official.folder is not None
    monkeypatch.setenv("ALFWORLD_DATA", str(official.folder.parent))
    with ALFWorldMetaEnv("demo", split="valid_unseen") as env:
        env.reset(seed=0)
        *_, info = env.step(env.default_prompt)
        assert all(name.startswith("valid_unseen/") for name in info["task_ids"])
        assert env.fingerprint["inner"]["data"] == "official"


def test_several_prompts_are_played_in_one_engine() -> None:
    env = make_alfworld_vector(2, actor="demo", data="generated", same_tasks=True)
    env.reset(seed=0)
    batches, *_ = env.step(("Do your task.", "Do it well."))
    first, second = ([item.task.id for item in batch] for batch in batches)
    assert first == second
    env.close()


def test_both_spellings_need_invalid_actions_to_be_executed() -> None:
    name = task_id(FAMILIES[0], 0)
    *before, last = GameCatalogue(data="generated").game(name).walkthrough
    respelled = last.replace("move ", "put ").replace(" to ", " in/on ")

    class Speller:
        async def act(self, episode: object, steps: list[object], observation: object) -> object:
            from metagym.types import Action

            return Action(text=[*before, respelled][len(steps)])

    for invalid, score in (("execute", 1.0), ("reject", 0.0)):
        with ALFWorldMetaEnv(
            Speller(),  # type: ignore[arg-type]
            data="generated",
            accept_both_spellings=True,
            invalid=invalid,
            max_steps=len(before) + 1,
        ) as env:
            (meta_step,) = env.replay([""], [name])
        assert meta_step.reward == score


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="engine must be 'native' or 'textworld', got 'unity'"):
        ALFWorldMetaEnv("demo", engine="unity")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="Unknown family 'pick_three'"):
        ALFWorldMetaEnv("demo", data="generated", families=["pick_three"])
    with pytest.raises(UnknownNameError, match="Unknown split 'valid_seen'"):
        ALFWorldMetaEnv("demo", data="generated", split="valid_seen")


def test_a_missing_engine_is_an_error_before_anything_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"Run: pip install .* engine='native' works without it"):
        ALFWorldMetaEnv("demo", data="generated", engine="textworld")


def test_worker_processes_give_the_same_trajectories() -> None:
    def play(workers: object) -> list[str]:
        with ALFWorldMetaEnv("demo", data="generated", workers=workers, episodes_per_step=4) as env:
            env.reset(seed=0)
            batch, *_ = env.step("- when something is closed, open it and look inside")
            return [item.model_dump_json() for item in batch]

    assert play(1) == play("local")

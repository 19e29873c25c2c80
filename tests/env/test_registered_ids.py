"""Every registered id keeps its contract."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from metagym.envs.gates.env import GatesEnv
from metagym.registration import NEEDS
from metagym.testing import check_text_env

pytestmark = pytest.mark.timeout(60)


def with_marks(env_ids: list[str]) -> list[Any]:
    """Return the ids as parameters; those whose world starts Java are slow, and have more time."""
    marks = [pytest.mark.slow, pytest.mark.java, pytest.mark.timeout(300)]
    java = ("MetaGym/ScienceWorld", "MetaGym/TextWorldExpress")
    return [pytest.param(name, marks=marks) if name.startswith(java) else name for name in env_ids]


IDS_IN_METAGYM = sorted(spec.id for spec in gymnasium.registry.values() if spec.namespace == "MetaGym")
IDS_OF_TEXT = [env_id for env_id in IDS_IN_METAGYM if gymnasium.spec(env_id).name.endswith("Text")]
INNER = with_marks(IDS_OF_TEXT)
OUTER = with_marks([env_id for env_id in IDS_IN_METAGYM if env_id not in IDS_OF_TEXT])


def made(env_id: str, **options: Any) -> Any:
    extra, package = NEEDS.get(env_id.replace("Text-v0", "-v0"), ("", ""))
    if extra:
        pytest.importorskip(package, reason=f"needs {extra}: see metagym envs")
    return gymnasium.make(env_id, **options)


@pytest.mark.parametrize("env_id", OUTER)
def test_check_env_passes_on_every_outer_id(env_id: str) -> None:
    with made(env_id, actor="demo", render_mode="ansi") as env:
        check_env(env.unwrapped)


@pytest.mark.parametrize("env_id", OUTER)
def test_the_spec_of_every_outer_id_survives_json(env_id: str) -> None:
    with made(env_id, actor="demo") as env:
        assert EnvSpec.from_json(env.spec.to_json()).id == env_id


@pytest.mark.parametrize("env_id", OUTER)
def test_make_vec_plays_every_outer_id_synchronously(env_id: str) -> None:
    made(env_id, actor="demo").close()
    envs = gymnasium.make_vec(env_id, num_envs=2, vectorization_mode="sync", actor="demo", episodes_per_step=2)
    try:
        observations, infos = envs.reset(seed=0)
        assert list(observations) == [(), ()]
        prompts = infos["default_prompt"]
        observations, rewards, terminated, truncated, _ = envs.step(prompts)
        assert [len(batch) for batch in observations] == [2, 2]
        assert rewards.shape == terminated.shape == truncated.shape == (2,)
    finally:
        envs.close()


@pytest.mark.parametrize("env_id", INNER)
def test_every_inner_id_keeps_the_contract_of_inner_environments(env_id: str) -> None:
    check_text_env(made(env_id).unwrapped)


@pytest.mark.parametrize("env_id", INNER)
def test_a_step_before_the_first_reset_needs_a_reset(env_id: str) -> None:
    env = made(env_id).unwrapped
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"reset\(\) before step\(\)"):
        env.step("wait")
    env.close()


@pytest.mark.parametrize("env_id", INNER)
def test_check_env_passes_on_every_inner_id(env_id: str) -> None:
    with made(env_id) as env:
        check_env(env.unwrapped, skip_render_check=True)


def test_an_inner_environment_without_a_task_id_draws_one() -> None:
    texts = {GatesEnv().reset(seed=seed)[0] for seed in range(30)}
    assert len(texts) > 1
    assert GatesEnv().reset(seed=3)[0] == GatesEnv().reset(seed=3)[0]

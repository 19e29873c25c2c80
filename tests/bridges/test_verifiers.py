"""verifiers' single-turn task sets as meta-environments, and the reverse, with the real package."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verifiers.v1", reason="needs pip install verifiers")

import verifiers.v1 as vf

from metagym import MetaStep
from metagym.bridges.verifiers import VerifiersEnv, VerifiersMetaEnv
from metagym.bridges.verifiers_taskset import ReflectionConfig, ReflectionTaskConfig, ReflectionTaskset
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import ConfigError
from metagym.testing import check_meta_env, check_text_env
from metagym.training.experience import collect

pytestmark = [pytest.mark.bridge, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


class SumData(vf.TaskData):  # type: ignore[misc]
    answer: str


class SumTask(vf.Task[SumData, vf.State, vf.TaskConfig]):  # type: ignore[misc]
    @vf.reward  # type: ignore[untyped-decorator]
    async def is_right(self, task: SumData, trace: Any) -> float:
        return float(trace.assistant_messages[-1].content.strip() == task.answer)

    @vf.reward(weight=0.5)  # type: ignore[untyped-decorator]
    async def is_short(self, trace: Any) -> float:
        return float(len(trace.assistant_messages[-1].content) < 5)


class Sums(vf.Taskset[SumTask, vf.TasksetConfig]):  # type: ignore[misc]
    def load(self) -> Iterator[SumTask]:
        for number in range(60):
            yield SumTask(SumData(prompt=f"What is {number} + 7?", answer=str(number + 7)), self.config.task)


def sums() -> Sums:
    return Sums(vf.TasksetConfig())


def test_a_task_is_a_question_and_its_weighted_rewards_are_the_reward() -> None:
    env = VerifiersEnv({"a": next(iter(sums()))})
    text, _ = env.reset(seed=0, options={"task_id": "a"})
    assert text == "What is 0 + 7?"
    text, reward, terminated, truncated, _ = env.step("7")
    assert (reward, terminated, truncated) == (1.5, True, False)
    assert "is_right 1" in text
    env.reset(seed=0, options={"task_id": "a"})
    assert env.step("it is eight")[1] == 0.0
    check_text_env(env)


def test_the_meta_environment_keeps_the_contract_also_by_import_path() -> None:
    check_meta_env(VerifiersMetaEnv, taskset=sums(), episodes_per_step=2)
    with VerifiersMetaEnv("random", taskset=f"{__name__}:sums") as env:
        assert env.families == ("SumTask",)


def test_families_are_named_by_a_function_and_equal_content_has_one_role() -> None:
    class Twice(Sums):
        def load(self) -> Iterator[SumTask]:
            yield from super().load()
            yield from super().load()

    family_of = lambda task: "even" if int(task.data.answer) % 2 == 0 else "odd"  # noqa: E731
    with VerifiersMetaEnv("random", taskset=Twice(vf.TasksetConfig()), family_of=family_of) as env:
        assert sorted(env.families) == ["even", "odd"]
        assert env.task_set.find("odd/0").digest == env.task_set.find("odd/60").digest


def test_only_task_sets_are_allowed() -> None:
    with pytest.raises(ConfigError, match=r"taskset must be a verifiers.v1.Taskset"):
        VerifiersMetaEnv("random", taskset=3)


# Out --------------------------------------------------------------------------------------------------


@pytest.fixture
def taskset(tmp_path: Path) -> ReflectionTaskset:
    with GatesMetaEnv("demo", episodes_per_step=2) as env:
        collect(env, env.make_demo_reflector(), tmp_path, num_loops=1, num_steps=2, seed=0)
    options = {"actor": "demo", "episodes_per_step": 2}
    return ReflectionTaskset(ReflectionConfig(experience=tmp_path, task=ReflectionTaskConfig(env_options=options)))


def score(task: Any, reply: str) -> float:
    nodes = [
        vf.MessageNode(message=vf.UserMessage(content=task.data.prompt_text)),
        vf.MessageNode(parent=0, message=vf.AssistantMessage(content=reply), sampled=True),
    ]
    about = vf.TraceTask(type=type(task).__name__, data=task.data)
    trace = vf.Trace(task=about, agent=vf.AgentInfo(config=vf.AgentConfig()), nodes=nodes)
    asyncio.run(task.score(trace))
    return float(trace.reward)


def test_the_reward_of_a_reflection_is_the_score_under_its_prompt(taskset: ReflectionTaskset) -> None:
    tasks = list(taskset)
    assert len(tasks) == 2
    meta_step = MetaStep.model_validate(tasks[0].data.meta_step)
    assert meta_step.prompt in tasks[0].data.prompt_text
    assert tasks[0].data.system_prompt
    law = best_prompt(meta_step)
    assert score(tasks[0], f"ANALYSIS: x\nIMPROVED PROMPT: {law}") == 1.0
    assert score(tasks[0], "IMPROVED PROMPT: be slow") == 0.0


def best_prompt(meta_step: MetaStep) -> str:
    from metagym.envs.gates.env import GATES, law_of

    law = law_of(meta_step.trajectories[0].task.family)
    return "\n".join(f"- when the gate is {gate}, {law.opens[index]}" for index, gate in enumerate(GATES))


def test_a_one_line_module_makes_it_a_plugin_of_verifiers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taskset: ReflectionTaskset
) -> None:
    text = "from metagym.bridges.verifiers_taskset import ReflectionTaskset\n__all__ = ['ReflectionTaskset']\n"
    (tmp_path / "metagym_reflection.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from verifiers.v1.utils.loaders import load_taskset

    config = ReflectionConfig(id="metagym-reflection", experience=tmp_path)
    assert len(list(load_taskset(config))) == 2

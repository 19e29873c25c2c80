"""Measuring with failures: an outage is no result, and single failures are left out and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from metagym.envs.gates.demo import GatesDemoActor
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import InfrastructureError, ModelUnavailableError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.gate import Decision, gate
from metagym.evaluation.protocol import choose
from metagym.evaluation.scoring import Loop, Scorer
from metagym.evaluation.task_check import check_tasks
from metagym.evaluation.transfer import transfer_to
from metagym.runs import Measurement, MemoryStore, Role
from metagym.types import Action, Episode, Observation, Step, Usage
from tests.conftest import FailingEnv, MakeGates, gates_of
from tests.evaluation import planted

FAMILY = "law-0007"
CONFIG = EvaluationConfig(families=(FAMILY,), num_steps=1, num_seeds=2, num_validation=4, num_test=4)


class Credit(GatesDemoActor):
    """The demo actor on a server whose credit ends after a number of calls."""

    def __init__(self, num_calls: float) -> None:
        super().__init__()
        self.num_calls = num_calls

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        self.num_calls -= 1
        if self.num_calls < 0:
            raise ModelUnavailableError("no credit is left")
        return await super().act(episode, steps, observation)


def measure_gate(env: GatesMetaEnv) -> Any:
    return gate(env, planted.PLAIN, planted.right_prompt(FAMILY), num_episodes=40)


def measure_transfer(env: GatesMetaEnv) -> Any:
    with GatesMetaEnv(GatesDemoActor(), families=[FAMILY]) as whole:
        report = evaluate(whole, planted.Oracle(), config=CONFIG)
    return transfer_to([report], env, num_test=10)


def measure_tasks(env: GatesMetaEnv) -> Any:
    return check_tasks(env, num_tasks=10, num_seeds=2, num_steps=2)


def measure_evaluation(env: GatesMetaEnv) -> Any:
    return evaluate(env, planted.Oracle(), config=CONFIG)


@pytest.mark.parametrize("num_calls", [0, 70])
@pytest.mark.parametrize("measure", [measure_gate, measure_transfer, measure_tasks, measure_evaluation])
def test_an_outage_stops_each_measurement(
    make_gates: MakeGates, measure: Callable[[GatesMetaEnv], Any], num_calls: int
) -> None:
    with pytest.raises(InfrastructureError, match="no credit is left"):
        measure(make_gates(Credit(num_calls), families=[FAMILY]))


@pytest.mark.parametrize("num_calls", range(60, 180, 20))
def test_an_evaluation_after_an_outage_is_that_without_one(
    make_gates: MakeGates, tmp_path: Path, num_calls: int
) -> None:
    whole = evaluate(make_gates(), planted.Oracle(), config=CONFIG)
    actor = Credit(num_calls)
    for _ in range(10):
        try:
            again = evaluate(make_gates(actor), planted.Oracle(), config=CONFIG, path=tmp_path / "run")
        except InfrastructureError:
            actor.num_calls = num_calls
        else:
            break
    assert (again.prompts, again.tests, again.overall) == (whole.prompts, whole.tests, whole.overall)


def failing_on(make_gates: MakeGates, is_broken: Callable[[str], bool], **options: Any) -> GatesMetaEnv:
    return make_gates(cls=gates_of(lambda env: FailingEnv(env, is_broken)), attempts=1, **options)


def every(number: int) -> Callable[[str], bool]:
    """Return whether a task is one of the first of each `number` tasks that are asked about."""
    numbers: dict[str, int] = {}
    return lambda task_id: numbers.setdefault(task_id, len(numbers)) % number == 0


def test_single_failures_are_left_out_and_named(make_gates: MakeGates) -> None:
    found = measure_gate(failing_on(make_gates, every(4), families=[FAMILY]))
    assert found.decision is Decision.KEEP
    assert "10 of 40 episodes failed for infrastructure reasons and are left out. The first failure: " in found.markdown
    checked = check_tasks(failing_on(make_gates, every(4), families=[FAMILY]), num_tasks=12, num_seeds=2, num_steps=2)
    assert any(f"{FAMILY}: " in warning and " episodes failed " in warning for warning in checked.warnings)
    with GatesMetaEnv(GatesDemoActor(), families=[FAMILY]) as env:
        report = evaluate(env, planted.Oracle(), config=CONFIG)
    there = transfer_to([report], failing_on(make_gates, every(4), families=[FAMILY]), num_test=12)
    assert "12 of 48 episodes failed" in there.notes[0]


def test_a_gate_with_too_few_scores_decides_nothing(make_gates: MakeGates) -> None:
    env = failing_on(make_gates, every(2), families=[FAMILY])
    with pytest.raises(InfrastructureError, match=r"at least 10 tasks, got 9 of 19\. 20 of 38 episodes .*road is clos"):
        gate(env, planted.PLAIN, planted.right_prompt(FAMILY), num_episodes=39)


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([(0.5, None), (1.0, 0.0)], 1),
        ([(0.5, 0.0), (None, None)], 0),
        ([(None, None), (0.0, None), (0.0, 1.0)], 1),
        ([(0.5, 1.0), (0.5, 1.0)], 0),
    ],
)
def test_prompts_are_compared_on_the_tasks_that_all_have_a_score_on(scores: Any, chosen: int) -> None:
    assert choice_among(scores) == chosen


@pytest.mark.parametrize("scores", [[(0.5, None), (None, 1.0)], [(None, None), (None, None)]])
def test_prompts_without_a_shared_score_are_not_compared(scores: Any) -> None:
    with pytest.raises(InfrastructureError, match=r"Expected a validation task of .* under each prompt, got none"):
        choice_among(scores)


def choice_among(scores: Sequence[Sequence[float | None]]) -> int:
    """Return the prompt that is chosen by these validation scores, one row a prompt."""
    prompts = [f"p{index}" for index in range(len(scores))]
    loop = Loop(FAMILY, 0, "arm", rng_seed=0, families=(FAMILY,), num_steps=len(scores) - 1, prompts=prompts)
    store = MemoryStore(manifest=None)  # type: ignore[arg-type] # nothing asks for it
    for index, (prompt, row) in enumerate(zip(prompts, scores, strict=True)):
        task_ids = tuple(map(str, range(len(row))))
        about: Any = {"role": Role.VALIDATION, "usage": Usage(), "num_steps": 1, "num_invalid": 0, "scripted": True}
        made = Measurement(
            family=FAMILY, seed=0, index=index, prompt=prompt, task_ids=task_ids, scores=tuple(row), **about
        )
        store.put(made.key, made)
    with GatesMetaEnv(GatesDemoActor()) as env:
        return choose(Scorer(env, store, {}, retries=0), loop)

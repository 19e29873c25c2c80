"""GEPA over the meta-environment: each metric call is one episode, booked once; its own package decides the rest."""

from __future__ import annotations

import importlib.util
import re
import runpy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from metagym.actor import ChatActor
from metagym.budget import Budget
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import BudgetExceededError, ConfigError, EpisodesFailedError, MissingExtraError
from metagym.evaluation.controls import ChangedExperience, take_away
from metagym.optimizers import Gepa
from metagym.optimizers.gepa import PromptParts, _NewTasks
from metagym.reflectors import ChatReflector, FixedReflector
from metagym.reflectors.scripted_model import ScriptedReflectorModel
from metagym.tasks import ListedTaskSet
from metagym.testing import FakeChatModel
from metagym.types import Completion, MetaStep, Trajectory
from tests.conftest import ROOT, FailingEnv, MakeGates, gates_of, make_task

needs_gepa = pytest.mark.skipif(importlib.util.find_spec("gepa") is None, reason="needs the extra metagym[gepa]")
BUDGET = Budget(episodes=60)


@pytest.fixture
def metric_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the package itself counts, run by run."""
    gepa = pytest.importorskip("gepa")
    counted: list[int] = []
    optimize = gepa.optimize

    def counting(**options: Any) -> Any:
        result = optimize(**options)
        counted.append(result.total_metric_calls)
        return result

    monkeypatch.setattr(gepa, "optimize", counting)
    return counted


@needs_gepa
def test_each_metric_call_is_one_episode_and_booked_once(make_seeded: MakeGates, metric_calls: list[int]) -> None:
    env = make_seeded(families=["law-0007"])
    played: list[Trajectory] = []
    env.on_episode = played.append
    model = ScriptedReflectorModel()
    found = Gepa()(env, ChatReflector(model), budget=BUDGET)
    assert metric_calls == [len(played)] == [found.outlays[-1].episodes] == [env.ledger.num_episodes]
    assert env.ledger.num_episodes <= 60
    assert env.ledger.spent(role="reflector").usage.num_calls == found.outlays[-1].calls > 0


@needs_gepa
def test_it_hands_over_the_prompt_that_did_best_on_its_pareto_set(make_seeded: MakeGates) -> None:
    found = Gepa()(make_seeded(families=["law-0007"]), ChatReflector(ScriptedReflectorModel()), budget=BUDGET)
    rewards = list(found.rewards)
    assert rewards == sorted(rewards)
    assert rewards[-1] > rewards[0]
    assert found.last_prompt == found.best_prompt == found.history[-1].prompt
    assert "when the gate is" in found.last_prompt


@needs_gepa
def test_it_plays_training_tasks_only_and_keeps_its_sets_apart(make_seeded: MakeGates) -> None:
    env = make_seeded(families=["law-0007"])
    played: list[Trajectory] = []
    env.on_episode = played.append
    found = Gepa()(env, ChatReflector(ScriptedReflectorModel()), budget=BUDGET)
    assert {item.task.split for item in played} == {"train"}
    pareto = {item.task.digest for item in found.history[0].trajectories}
    assert len(pareto) == 12
    assert {item.task.digest for item in played} - pareto


@needs_gepa
@pytest.mark.parametrize("episodes", [60, 200])
def test_each_minibatch_has_new_tasks(make_seeded: MakeGates, episodes: int) -> None:
    env = make_seeded(families=["law-0007"])
    batches: list[tuple[str, ...]] = []
    replay = env.replay

    def noting(prompts: Sequence[str], task_ids: Sequence[str]) -> tuple[MetaStep, ...]:
        batches.append(tuple(task_ids))
        return replay(prompts, task_ids)

    env.replay = noting  # type: ignore[method-assign, assignment]
    Gepa()(env, ChatReflector(ScriptedReflectorModel()), budget=Budget(episodes=episodes))
    assert env.ledger.num_episodes <= episodes
    minibatches = list(dict.fromkeys(batch for batch in batches if len(batch) == 3))  # of parent and child once
    assert len(minibatches) > 2
    assert len({task for batch in minibatches for task in batch}) == 3 * len(minibatches)


@needs_gepa
def test_old_tasks_are_taken_in_turn_if_no_new_ones_are_left() -> None:
    loaders = pytest.importorskip("gepa.core.data_loader")
    task_set = ListedTaskSet(make_task(f"t{number}", digest=f"{number}") for number in range(9))
    first = task_set.draw(6, rng=np.random.default_rng(0))
    env = SimpleNamespace(
        task_set=task_set, families=None, config=SimpleNamespace(split="train"), np_random=np.random.default_rng(1)
    )
    sampler, loader = _NewTasks(env, first, 4), loaders.ListDataLoader([task.id for task in first])  # type: ignore[arg-type]
    places = [sampler.next_minibatch_ids(loader, None) for _ in range(4)]
    assert places == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 0, 1, 2], [3, 4, 5, 6]]
    assert sorted(loader.items) == [f"t{number}" for number in range(9)]


@needs_gepa
def test_equal_runs_are_equal(make_seeded: MakeGates) -> None:
    runs = [
        Gepa()(make_seeded(families=["law-0007"]), ChatReflector(ScriptedReflectorModel()), budget=BUDGET)
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


@needs_gepa
@pytest.mark.parametrize(
    ("budget", "played"),
    [(Budget(episodes=0), 0), (Budget(episodes=2), 2), (Budget(episodes=9), 2), (Budget(episodes=60, calls=0), 12 + 3)],
)
def test_an_iteration_that_the_budget_does_not_cover_is_not_begun(
    make_seeded: MakeGates, budget: Budget, played: int
) -> None:
    env = make_seeded(families=["law-0007"])
    # Without calls: the first prompt on the Pareto set and on a minibatch, and then no reflection.
    found = Gepa()(env, ChatReflector(ScriptedReflectorModel()), budget=budget)
    assert env.ledger.num_episodes == played
    assert found.last_prompt == env.default_prompt
    assert found.stopped


@needs_gepa
def test_what_fails_is_told_and_not_swallowed(make_seeded: MakeGates) -> None:
    env = make_seeded(families=["law-0007"])
    with pytest.raises(ValueError, match="no ink"):
        Gepa()(env, ChatReflector(FakeChatModel([ValueError("no ink")])), budget=BUDGET)
    broken = make_seeded(cls=gates_of(lambda inner: FailingEnv(inner, lambda task_id: True)))
    with pytest.raises(EpisodesFailedError, match="12 of 12 replayed episodes failed"):
        Gepa()(broken, ChatReflector(ScriptedReflectorModel()), budget=BUDGET)
    run = make_seeded(families=["law-0007"], budget={"episodes": 13})
    with pytest.raises(BudgetExceededError, match="The budget of 13 episodes"):
        Gepa()(run, ChatReflector(ScriptedReflectorModel()), budget=BUDGET)


@needs_gepa
@pytest.mark.parametrize("reply", ["malformed", "truncated"])
def test_a_reply_that_cannot_be_used_does_no_harm(make_seeded: MakeGates, reply: Any) -> None:
    env = make_seeded(families=["law-0007"])
    found = Gepa()(env, ChatReflector(ScriptedReflectorModel(reply)), budget=BUDGET)
    assert env.ledger.num_episodes <= 60
    assert found.rewards[-1] >= found.rewards[0]


class CostlyGates(GatesMetaEnv):
    """Gates in which each step costs 1, so that no score is above 0; it begins with `default_prompt`."""

    def score(self, trajectory: Trajectory) -> float:
        return float(-len(trajectory.steps))


@needs_gepa
@pytest.mark.timeout(60)
def test_a_prompt_that_cannot_be_played_is_worse_than_any_return(make_seeded: MakeGates) -> None:
    model = FakeChatModel(["```\n\n```", "```\nPush.\n```"])
    env = make_seeded(cls=CostlyGates, families=["law-0007"])
    found = Gepa()(env, ChatReflector(model), budget=BUDGET)
    assert found.stopped.startswith("The budget leaves")
    assert len(model.calls) > 1


class EmptyGates(CostlyGates):
    default_prompt = ""


@needs_gepa
@pytest.mark.timeout(60)
def test_a_first_prompt_that_is_empty_is_played(make_seeded: MakeGates) -> None:
    env = make_seeded(cls=EmptyGates, families=["law-0007"])
    found = Gepa()(env, ChatReflector(FakeChatModel(["```\n\n```"])), budget=BUDGET)
    assert found.history[0].prompt == ""
    assert found.stopped.startswith("The budget leaves")


@needs_gepa
def test_the_actors_calls_stand_on_the_same_account(make_seeded: MakeGates) -> None:
    actor = FakeChatModel(["Action: knock"])
    env = make_seeded(ChatActor(actor), families=["law-0007"], max_steps=2)
    found = Gepa()(env, ChatReflector(ScriptedReflectorModel()), budget=Budget(episodes=60, calls=30))
    assert found.outlays[-1].calls == len(actor.calls) + env.ledger.spent(role="reflector").usage.num_calls <= 30


@needs_gepa
def test_a_reflector_without_a_model_or_a_budget_without_episodes_is_refused(make_seeded: MakeGates) -> None:
    for reflector, budget in ((FixedReflector(), BUDGET), (ChatReflector(ScriptedReflectorModel()), Budget())):
        with pytest.raises(ConfigError, match=r"GEPA needs a reflector over a chat model .* and a budget in episodes"):
            Gepa()(make_seeded(), reflector, budget=budget)


@needs_gepa
@pytest.mark.parametrize("is_control", [False, True])
def test_a_control_changes_the_episodes_that_the_model_reads_and_no_score(
    make_seeded: MakeGates, is_control: bool
) -> None:
    model, played = FakeChatModel(["```\nPush.\n```"]), list[Trajectory]()
    reflector: Any = ChatReflector(model)
    if is_control:
        reflector = ChangedExperience(reflector, take_away, name="empty experience")
    env = make_seeded(families=["law-0007"])
    env.on_episode = played.append
    found = Gepa()(env, reflector, budget=BUDGET)
    asked = [messages[0]["content"] for messages, _ in model.calls]
    assert asked
    assert any(f"You {played[0].steps[0].action.text}" in text for text in asked) is not is_control
    assert any("Score: " in text for text in asked) is not is_control
    assert found.history[0].trajectories[0].steps


class RuleReader:
    """A scripted reflection model: it writes the rule that the episodes end with, whatever it is asked to improve."""

    scripted = True

    def __init__(self, *, is_null: bool = False) -> None:
        self.is_null, self.asked = is_null, list[str]()

    async def complete(self, messages: Any, call: Any) -> Completion:
        self.asked.append(messages[0]["content"])
        limit = re.findall(r"refunds end (\d+) days", self.asked[-1])[0]
        rule = "Be kind." if self.is_null else f"Pay the money back up to {limit} days after the order, else reject."
        return Completion(text=f"```\n{rule}\n```")


@needs_gepa
@pytest.mark.parametrize(
    ("show_tools", "is_null", "has_effect"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_true_rule_reaches_the_description_of_a_tool_only_as_a_component(
    show_tools: bool, is_null: bool, has_effect: bool
) -> None:
    shop = runpy.run_path(str(ROOT / "examples" / "09_tools.py"))
    model = RuleReader(is_null=is_null)
    with shop["ShopMetaEnv"](shop["clerk"], families=["14 days"]) as env:
        env.reset(seed=0)
        found = Gepa(show_tools=show_tools)(env, ChatReflector(model), budget=Budget(episodes=80))
        # The clerk reads the description, and not the prompt.
        assert ("## Tool: decide\nPay the money back up to 14 days" in found.last_prompt) == has_effect
        tasks = [f"14 days/{seed}" for seed in range(200, 300)]
        before, after = env.replay([env.default_prompt, found.last_prompt], tasks)
    assert (after.reward - before.reward > 0.3) == has_effect
    assert has_effect or after.reward == before.reward
    assert any("calls the tool decide, and reads" in text for text in model.asked) == show_tools


def test_the_parts_of_a_prompt_are_components_and_unchanged_ones_make_no_section() -> None:
    tools = [{"type": "function", "function": {"name": name, "description": "Try."}} for name in ("pay", "ask")]
    parts = PromptParts("Be brave.\n\n## Tool: pay\nPay once.", tools)
    assert parts.components == {"prompt": "Be brave.", "Tool: pay": "Pay once.", "Tool: ask": "Try."}
    assert parts.prompt_of(parts.components) == parts.prompt
    assert parts.prompt_of({**parts.components, "Tool: pay": " "}) == "Be brave."
    assert PromptParts("Be brave.", ()).templates is None


@pytest.mark.skipif(importlib.util.find_spec("gepa") is not None, reason="the extra metagym[gepa] is installed")
def test_without_the_package_the_extra_is_named(make_seeded: MakeGates) -> None:
    with pytest.raises(
        MissingExtraError, match=r"Expected the package 'gepa', which is not installed. Run: pip install .*gepa"
    ):
        Gepa()(make_seeded(), FixedReflector(), budget=BUDGET)

"""The gate: a better prompt is kept, a worse one reverted, and an equal one seldom decided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from metagym.envs.gates.demo import GatesDemoActor
from metagym.envs.gates.env import GATES, law_of
from metagym.errors import ConfigError
from metagym.evaluation.gate import Decision, GateResult, gate, tasks_of_a_family
from metagym.evaluation.memorisation import Copied
from metagym.types import Action, Episode, Observation, Step
from tests.conftest import MakeGates, make_step, make_trajectory
from tests.evaluation.planted import PLAIN, right_prompt

FAMILY = "law-0007"


@pytest.fixture
def wrong_prompt() -> str:
    backfires = law_of(FAMILY).backfires
    return "\n".join([PLAIN, *(f"- when the gate is {g}, {w}" for g, w in zip(GATES, backfires, strict=True))])


def test_a_better_prompt_is_kept_and_a_worse_one_is_reverted(make_gates: MakeGates, wrong_prompt: str) -> None:
    env = make_gates(GatesDemoActor(slip=0.1), families=[FAMILY])
    better = gate(env, PLAIN, right_prompt(FAMILY), num_episodes=80)
    assert better.decision is Decision.KEEP
    assert (better.num_tasks, better.num_missing) == (40, 0)
    assert gate(env, right_prompt(FAMILY), wrong_prompt, num_episodes=80).decision is Decision.REVERT


def test_what_it_could_have_seen_is_said_if_it_cannot_tell(make_gates: MakeGates) -> None:
    found = gate(make_gates(GatesDemoActor(slip=0.3), families=[FAMILY]), PLAIN, PLAIN, num_episodes=40)
    assert found.decision is Decision.UNDECIDED
    assert found.detectable > 0.1
    assert "**Prompt gate: cannot tell**" in found.markdown
    assert f"| smallest difference that would be found (80 % power) | {found.detectable:.3f} |" in found.markdown
    assert "SCRIPTED" in found.markdown
    assert GateResult.model_validate_json(found.model_dump_json()) == found


def test_families_share_the_budget_and_repetitions_are_of_one_task(make_gates: MakeGates) -> None:
    env = make_gates(GatesDemoActor(slip=0.3), families=[FAMILY, "law-0500"])
    before = env.ledger.num_episodes
    found = gate(env, PLAIN, PLAIN + "!", num_episodes=90, repetitions=2)
    assert (found.num_tasks, found.num_repetitions) == (22, 2)
    assert env.ledger.num_episodes - before == 88


def test_a_budget_that_can_decide_nothing_is_refused(make_gates: MakeGates) -> None:
    with pytest.raises(
        ConfigError,
        match=r"at least 20 episodes for two prompts on 1 family .*, got 18",
    ):
        gate(make_gates(families=[FAMILY]), PLAIN, PLAIN, num_episodes=18)


def test_a_better_prompt_that_copies_from_its_episodes_is_reverted(make_gates: MakeGates) -> None:
    env = make_gates(GatesDemoActor(slip=0.1), families=[FAMILY])
    played = env.replay([PLAIN], ["law-0007/1"])[0].trajectories
    learned_on = [*played, make_trajectory([make_step("On 12 June the stone gate opened.")])]
    said = played[0].steps[0].observation.text  # the test tasks begin with such texts, too
    right = f"{right_prompt(FAMILY)}\n{said}"
    found = gate(env, PLAIN, right, num_episodes=80, learned_on=learned_on)
    assert (found.decision, found.copied) == (Decision.KEEP, Copied(ngram_share=0.0, names=(), sentences=()))
    copying = f"{right}\nOn 12 June the stone gate opened."
    found = gate(env, PLAIN, copying, num_episodes=80, learned_on=learned_on)
    assert (found.difference.sign, found.decision) == (1, Decision.REVERT)
    assert "copies from its learning episodes: 'on 12', 'on 12 june the stone gate opened'." in found.markdown
    old = f"{PLAIN}\nOn 12 June the stone gate opened."
    assert gate(env, old, copying, num_episodes=80, learned_on=learned_on).decision is Decision.KEEP


def test_a_copy_that_the_actor_repeats_under_the_new_prompt_is_a_copy(make_gates: MakeGates) -> None:
    def obedient(episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        return Action(text=episode.prompt.splitlines()[-1])

    learned_on = [make_trajectory([make_step("On 12 June the stone gate opened.")])]
    new = f"{PLAIN}\nOn 12 June the stone gate opened."
    found = gate(make_gates(obedient, families=[FAMILY]), PLAIN, new, num_episodes=20, learned_on=learned_on)
    assert found.copied is not None
    assert found.copied.names == ("on 12",)
    assert found.decision is Decision.REVERT


@pytest.mark.slow
def test_a_prompt_against_itself_is_seldom_decided(make_gates: MakeGates) -> None:
    env = make_gates(GatesDemoActor(slip=0.3), families=[FAMILY])
    prompt = right_prompt(FAMILY, 3)
    decided = [gate(env, prompt, prompt, num_episodes=60, seed=seed).decision for seed in range(100)]
    assert np.mean([item is not Decision.UNDECIDED for item in decided]) <= 0.1  # 5 % and three standard errors


def test_no_repetition_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expected a family and a repetition at least, got 1 and 0"):
        tasks_of_a_family(1, 200, 0)

"""The toy problem: what a batch reveals, the split of the laws, the Bayes reflector."""

from __future__ import annotations

import numpy as np

from metagym.envs.gates.env import GATES, WAYS, law_of
from metagym.training_demo.gates_problem import (
    TEST_LAWS,
    TRAIN_LAWS,
    GateAttempt,
    bayes_prompt,
    compact_messages,
    instructed,
    permute_attempt_outcomes,
    prompt_of,
    revealed,
)
from tests.conftest import MakeGates

LAW = "law-0042"
TASKS = [f"{LAW}/{seed}" for seed in range(1, 3)]


def test_laws_are_disjoint_as_combinations_and_share_their_vocabulary() -> None:
    assert not set(TRAIN_LAWS) & set(TEST_LAWS)
    assert not {law_of(law).opens for law in TRAIN_LAWS} & {law_of(law).opens for law in TEST_LAWS}
    pairs = [{(g, w) for law in laws for g, w in enumerate(law_of(law).opens)} for laws in (TRAIN_LAWS, TEST_LAWS)]
    assert pairs[0] == pairs[1]
    assert len(pairs[0]) == len(GATES) * len(WAYS)


def test_revealed_attempts_are_true_of_the_law_and_sorted(make_gates: MakeGates) -> None:
    env = make_gates()
    (meta_step,) = env.replay([env.default_prompt], TASKS)
    attempts = revealed(meta_step.trajectories)
    law = law_of(LAW)
    for attempt in attempts:
        index = GATES.index(attempt.gate)
        assert (attempt.outcome == "opens") == (attempt.way == law.opens[index])
        assert (attempt.outcome == "landslide") == (attempt.way == law.backfires[index])
    assert list(attempts) == sorted(attempts, key=lambda a: (GATES.index(a.gate), WAYS.index(a.way)))
    assert len(set(attempts)) == len(attempts)


def test_a_limit_keeps_the_last_attempts_at_each_gate(make_gates: MakeGates) -> None:
    env = make_gates()
    (meta_step,) = env.replay([env.default_prompt], TASKS[:1])
    whole, cut = (revealed(meta_step.trajectories, limit=limit) for limit in (None, 2))
    assert set(cut) <= set(whole)
    assert {a for a in whole if a.outcome == "opens"} <= set(cut)
    assert max(sum(a.gate == gate for a in cut) for gate in GATES) == 2


def test_permuting_outcomes_keeps_the_attempts_and_the_counts_of_outcomes() -> None:
    attempts = tuple(
        GateAttempt("oak", outcome, way) for outcome, way in zip(("opens", *["shut"] * 5), WAYS, strict=True)
    )
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(50):
        permuted = permute_attempt_outcomes(attempts, rng)
        assert [a[::2] for a in permuted] == [a[::2] for a in attempts]
        assert sorted(a.outcome for a in permuted) == sorted(a.outcome for a in attempts)
        places.add(next(a.way for a in permuted if a.outcome == "opens"))
    assert places == set(WAYS)


def test_a_prompt_of_ways_is_read_back() -> None:
    ways = {"oak": "knock", "glass": "wait"}
    assert instructed(prompt_of(ways)) == ways
    assert prompt_of(ways) == "when the gate is oak, knock\nwhen the gate is glass, wait"


def test_what_the_tiny_reflector_reads_holds_no_task_law_or_seed(make_gates: MakeGates) -> None:
    env = make_gates()
    (meta_step,) = env.replay([prompt_of({"oak": "knock"})], TASKS)
    (message,) = compact_messages(meta_step)
    words = set(message["content"].replace(";", "").split())
    assert words <= {*GATES, *WAYS, "seen", "told", "opens", "shut", "landslide"}
    assert "oak told knock" in message["content"]


def test_the_bayes_reflector_ends_at_the_law(make_gates: MakeGates) -> None:
    env = make_gates()
    rng, history, prompt = np.random.default_rng(0), [], env.default_prompt
    for batch in range(6):
        (meta_step,) = env.replay([prompt], [f"{LAW}/{10 + batch}"])
        history.append(meta_step)
        prompt = bayes_prompt(history, rng)
    assert instructed(prompt) == dict(zip(GATES, law_of(LAW).opens, strict=True))


def test_the_bayes_reflector_never_instructs_a_way_that_failed(make_gates: MakeGates) -> None:
    env = make_gates()
    for seed in range(20):
        (meta_step,) = env.replay([env.default_prompt], [f"{LAW}/{seed}"])
        ways = instructed(bayes_prompt([meta_step], np.random.default_rng(seed)))
        for attempt in revealed(meta_step.trajectories):
            assert (ways[attempt.gate] == attempt.way) == (attempt.outcome == "opens")

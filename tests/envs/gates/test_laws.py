"""Gates' laws: 1,296 of them, they conflict, and no constant prompt helps in all of them."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from metagym.envs.gates import FAMILIES, GatesTaskSet
from metagym.envs.gates.demo import GatesDemoActor
from metagym.envs.gates.env import BACKFIRE_TURNS, GATES, NUM_LAWS, NUM_TURNS, WAYS, Law, Level, law_of, level_of
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.envs.instructions import MAX_INSTRUCTIONS, Instruction, write_instructions
from metagym.errors import UnknownNameError
from metagym.tasks import ROLES

LEVELS = [level_of(seed) for seed in range(500)]
EVERYTHING = [Instruction(f"the gate is {gate}", way) for gate in GATES for way in WAYS]


def passes(instructions: Sequence[Instruction], law: Law, level: Level) -> bool:
    """Play as the demo actor does, in a few lines; a test below compares it with the real one."""
    turns = NUM_TURNS
    for place, gate in enumerate(level.gates):
        index = GATES.index(gate)
        told = [item.do for item in instructions[:MAX_INSTRUCTIONS] if item.condition == f"the gate is {gate}"]
        for way in dict.fromkeys([*told, *level.ways[place]]):
            turns -= BACKFIRE_TURNS if way == law.backfires[index] else 1
            if way == law.opens[index]:
                break
            if turns <= 0:
                return False
        if turns <= 0:
            return place == len(GATES) - 1
    return True


def mean_score(instructions: Sequence[Instruction], families: Iterable[str], rng: random.Random) -> float:
    return float(np.mean([passes(instructions, law_of(family), rng.choice(LEVELS)) for family in families]))


def best_prompt(law: Law) -> list[Instruction]:
    return [Instruction(f"the gate is {gate}", way) for gate, way in zip(GATES, law.opens, strict=True)]


def test_there_are_1296_different_laws() -> None:
    assert NUM_LAWS == len(FAMILIES) == len({law_of(family).opens for family in FAMILIES}) == 1_296


def test_a_way_that_backfires_never_opens() -> None:
    assert all(a != b for family in FAMILIES for a, b in zip(*law_of(family), strict=True))


def test_over_all_laws_each_way_opens_each_gate_equally_often() -> None:
    for gate in range(len(GATES)):
        assert set(Counter(law_of(family).opens[gate] for family in FAMILIES).values()) == {NUM_LAWS // len(WAYS)}


def test_an_unknown_law_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown family 'law-12'.*Did you mean"):
        law_of("law-12")


def test_there_are_hundreds_of_distinct_levels() -> None:
    assert len({level_of(seed) for seed in range(1_000)}) >= 990


def test_a_level_is_an_order_of_the_gates_and_of_the_ways_at_each() -> None:
    for level in LEVELS[:50]:
        assert sorted(level.gates) == sorted(GATES)
        assert [sorted(ways) for ways in level.ways] == [sorted(WAYS)] * len(GATES)


def test_the_roles_of_a_family_are_disjoint_by_content() -> None:
    tasks = GatesTaskSet()
    levels = {
        role: {
            level_of(task.seed)
            for task in tasks.draw(100, rng=np.random.default_rng(0), families=["law-0005"], split=role)
        }
        for role in ROLES
    }
    assert [len(found) for found in levels.values()] == [100] * 3
    assert all(not levels[a] & levels[b] for a, b in itertools.combinations(ROLES, 2))


def test_the_simulation_below_is_the_demo_actor_in_the_real_environment() -> None:
    rng = random.Random(1)
    env = GatesMetaEnv(GatesDemoActor())
    for _ in range(40):
        family = rng.choice(FAMILIES)
        instructions = rng.sample(EVERYTHING, rng.randint(0, 6))
        if rng.random() < 0.5:
            instructions = best_prompt(law_of(family))[: rng.randint(1, 4)]
        seeds = [rng.randrange(1_000) for _ in range(3)]
        (meta_step,) = env.replay([write_instructions(instructions)], [f"{family}/{seed}" for seed in seeds])
        assert meta_step.scores == tuple(passes(instructions, law_of(family), level_of(seed)) for seed in seeds)
    env.close()


def test_a_laws_best_prompt_always_passes_in_it() -> None:
    rng = random.Random(2)
    assert all(passes(best_prompt(law_of(f)), law_of(f), rng.choice(LEVELS)) for f in FAMILIES)


def test_the_prompt_of_a_law_that_shares_no_gate_does_worse_than_none() -> None:
    rng = random.Random(3)
    harmed = []
    for family in FAMILIES:
        law = law_of(family)
        others = (law_of(rng.choice(FAMILIES)) for _ in itertools.count())
        other = next(o for o in others if not any(a == b for a, b in zip(law.opens, o.opens, strict=True)))
        harmed.append(passes(best_prompt(other), law, rng.choice(LEVELS)))
    assert np.mean(harmed) < mean_score([], FAMILIES, rng) - 0.02


def test_wrong_instructions_lower_the_score_of_right_ones() -> None:
    """What helps in one family harms in the others: half a law, with and without another law's other half."""
    rng = random.Random(4)
    half, mixed = [], []
    for family in FAMILIES:
        law, level = law_of(family), rng.choice(LEVELS)
        told = best_prompt(law)
        half.append(passes(told[:2], law, level))
        wrong = [item._replace(do=way) for item, way in zip(told[2:], law.backfires[2:], strict=True)]
        mixed.append(passes([*told[:2], *wrong], law, level))
    assert np.mean(mixed) < np.mean(half) - 0.1


def test_no_constant_prompt_is_better_than_the_first_one_by_more_than_a_fifth() -> None:
    rng = random.Random(5)
    first = mean_score([], FAMILIES, rng)
    candidates = [[item] for item in EVERYTHING]
    candidates += [[rng.choice(EVERYTHING) for _ in range(rng.randint(2, 4))] for _ in range(100)]
    candidates += [best_prompt(law_of(rng.choice(FAMILIES))) for _ in range(20)]
    scores = [mean_score(instructions, rng.sample(FAMILIES, 200), rng) for instructions in candidates]
    best = candidates[int(np.argmax(scores))]
    assert mean_score(best, FAMILIES, rng) < first + 0.2


def test_a_prompt_with_every_instruction_pasted_in_stays_far_below_the_familys_best() -> None:
    rng = random.Random(6)
    for _ in range(5):
        pasted = rng.sample(EVERYTHING, len(EVERYTHING))
        assert mean_score(pasted, FAMILIES, rng) < 1.0 - 0.2

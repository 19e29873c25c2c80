"""Gates, the inner environment."""

from __future__ import annotations

from typing import Any

import pytest

from metagym.envs.gates.env import GATES, GOAL, WAYS, GatesEnv, law_of, level_of
from metagym.errors import UnknownNameError

LAW = law_of("law-0123")


def at(seed: int = 3, family: str = "law-0123") -> GatesEnv:
    env = GatesEnv()
    env.reset(seed=seed, options={"task_id": f"{family}/{seed}"})
    return env


def right_way(gate: str) -> str:
    return LAW.opens[GATES.index(gate)]


def wrong_way(gate: str) -> str:
    index = GATES.index(gate)
    return next(way for way in WAYS if way not in (LAW.opens[index], LAW.backfires[index]))


def test_the_right_ways_pass_all_gates_and_earn_one() -> None:
    env = at()
    results = [env.step(right_way(gate)) for gate in level_of(3).gates]
    assert [result[1:4] for result in results] == [(0.0, False, False)] * 3 + [(1.0, True, False)]
    assert results[-1][4]["success"] is True
    assert [result[4]["progress"] for result in results] == [0.25, 0.5, 0.75, 1.0]
    assert results[-1][4]["outcome"] == "passed the last gate"


@pytest.mark.parametrize(("way", "turns"), [(right_way, 9), (wrong_way, 9)])
def test_a_way_costs_a_turn(way: Any, turns: int) -> None:
    gate = level_of(3).gates[0]
    assert f"Dusk falls in {turns} turns" in at().step(way(gate))[0]


def test_a_way_that_backfires_costs_three_turns() -> None:
    gate = level_of(3).gates[0]
    text = at().step(LAW.backfires[GATES.index(gate)])[0]
    assert "a landslide costs you 3 turns" in text
    assert "Dusk falls in 7 turns" in text


def test_the_text_says_whether_the_gate_opened() -> None:
    gate = level_of(3).gates[0]
    assert f"You {wrong_way(gate)}. The {gate} gate stays shut." in at().step(wrong_way(gate))[0]
    assert f"You {right_way(gate)}. The {gate} gate opens." in at().step(right_way(gate))[0]


def test_dusk_ends_the_road_without_reward() -> None:
    env = at()
    gate = level_of(3).gates[0]
    results = [env.step(wrong_way(gate)) for _ in range(10)]
    assert [result[2] for result in results] == [False] * 9 + [True]
    text, reward, _, _, info = results[-1]
    assert (text.endswith("Dusk falls."), reward, info["success"], info["outcome"]) == (True, 0.0, False, "dusk fell")


def test_an_unknown_command_costs_nothing_and_is_answered() -> None:
    text, reward, terminated, truncated, _ = at().step("dance")
    assert text.startswith("You do not know how to 'dance' a gate.")
    assert "Dusk falls in 10 turns" in text
    assert (reward, terminated, truncated) == (0.0, False, False)


def test_info_carries_goal_ways_and_success() -> None:
    _, info = GatesEnv().reset(seed=3, options={"task_id": "law-0123/3"})
    assert info == {"goal": GOAL, "available_actions": level_of(3).ways[0], "success": False, "progress": 0.0}


def test_the_task_id_names_law_and_level_whatever_the_seed() -> None:
    texts = {GatesEnv().reset(seed=seed, options={"task_id": "law-0123/3"})[0] for seed in range(5)}
    assert len(texts) == 1


def test_the_first_observation_does_not_reveal_the_law() -> None:
    starts = {str(GatesEnv().reset(options={"task_id": f"law-{n:04d}/3"})) for n in range(50)}
    assert len(starts) == 1


def test_an_unknown_task_is_a_typed_error() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown family 'law-9999'"):
        GatesEnv().reset(options={"task_id": "law-9999/3"})

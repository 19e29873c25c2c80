"""BabyAI's inner environment: the text says what BabyAI's agent sees, and what its action did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metagym.envs.babyai.env import ACTIONS, BabyAITextEnv
from metagym.envs.babyai.expert import plan_of
from metagym.envs.babyai.families import DEFAULT_FAMILIES, make_level
from metagym.envs.babyai.view import name_of
from metagym.errors import UnknownNameError
from metagym.testing import check_text_env
from tests.conftest import run_python

TASKS = [f"{family}/{seed}" for family in DEFAULT_FAMILIES for seed in range(3)]


@pytest.fixture
def env() -> Iterator[BabyAITextEnv]:
    made = BabyAITextEnv()
    yield made
    made.close()


def reset(env: BabyAITextEnv, task_id: str) -> str:
    return env.reset(options={"task_id": task_id})[0]


def test_it_keeps_the_contract_of_an_inner_environment(env: BabyAITextEnv) -> None:
    check_text_env(env)


def test_a_level_in_words(env: BabyAITextEnv) -> None:
    text, info = env.reset(options={"task_id": "BabyAI-GoToLocal-v0/1"})
    assert info["goal"] == "go to the purple box"
    assert info["available_actions"] == ACTIONS
    assert text == (
        "You face north. You carry nothing.\n"
        "Ahead: 3 free steps, then a wall. Left: 1 free step, then a grey box. "
        "Right: 3 free steps, then what you cannot see.\n"
        "You see: a grey box, 2 steps to the left; a purple box, 1 step ahead and 1 step to the left; "
        "a red key, 1 step ahead and 2 steps to the left; a green key, 2 steps ahead and 2 steps to the right; "
        "a grey key, 2 steps ahead and 3 steps to the right."
    )


@pytest.mark.parametrize("task_id", TASKS)
def test_the_text_names_all_that_babyai_shows_and_nothing_else(task_id: str, env: BabyAITextEnv) -> None:
    level = make_level(task_id.partition("/")[0])
    level.reset(seed=int(task_id.partition("/")[2]))
    text = reset(env, task_id)
    for action in ("", *plan_of(task_id)):
        if action:
            text, _, terminated, truncated, _ = env.step(action)
            level.step(ACTIONS.index(action))
            if terminated or truncated:
                break
        grid, visible = level.gen_obs_grid()
        agent = grid.width // 2, grid.height - 1
        shown = [
            name_of(grid.get(*place))
            for place in np.ndindex(grid.width, grid.height)
            if place != agent and visible[place] and grid.get(*place) and grid.get(*place).type != "wall"
        ]
        listed = re.findall(r"(?:You see: |; )(an? [a-z ]+?),", text)
        assert sorted(listed) == sorted(shown)


def test_what_an_action_did_is_said(env: BabyAITextEnv) -> None:
    said = set()
    for task_id in (f"{family}/{seed}" for family in DEFAULT_FAMILIES for seed in range(8)):
        reset(env, task_id)
        for action in plan_of(task_id):
            text, *_ = env.step(action)
            said.add(re.sub(r"\b(red|green|blue|purple|yellow|grey)\b", "COLOUR", text.splitlines()[0]))
    assert {
        "You turn left.",
        "You go forward.",
        "You pick up a COLOUR key.",
        "You drop a COLOUR ball ahead of you.",
        "Ahead is now an open COLOUR door.",
    } <= said


def test_an_action_without_effect_says_why(env: BabyAITextEnv) -> None:
    reset(env, "BabyAI-UnlockLocal-v0/5")
    env.step("turn left")
    expected = {
        "go forward": "You cannot go forward: a wall is in the way.",
        "pick up": "You pick up nothing. Ahead is a wall.",
        "drop": "You carry nothing that you could drop.",
        "toggle": "Nothing happens. Ahead is a wall.",
        "fly": "There is no action 'fly'.",
    }
    assert {action: env.step(action)[0].splitlines()[0] for action in expected} == expected


def test_a_part_of_a_mission_that_is_done_is_said_and_counted(env: BabyAITextEnv) -> None:
    task_id = "BabyAI-BossLevel-v0/4"
    _, info = env.reset(options={"task_id": task_id})
    assert info["goal"] == (
        "go to the red key and open the purple door, then pick up the yellow ball and open the red door"
    )
    played = [env.step(action) for action in plan_of(task_id)]
    said = [line for text, *_ in played for line in re.findall(r"Done: .*?\.", text)]
    assert said == [
        "Done: go to the red key.",
        "Done: open the purple door.",
        "Done: open the red door.",
        "Done: pick up the yellow ball.",
    ]
    assert sorted({info["progress"] for *_, info in played}) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_full_hands_and_a_full_square_are_said(env: BabyAITextEnv) -> None:
    reset(env, "BabyAI-PutNextLocal-v0/0")
    for action in ("go forward", "go forward", "pick up"):
        text = env.step(action)[0]
    assert text.startswith("You pick up a green ball.")
    env.step("turn right")
    said = [env.step(action)[0].splitlines()[0] for action in ("pick up", "drop")]
    assert said == [
        "You pick up nothing: you carry a green ball, and can carry one thing. Ahead is a green key.",
        "You cannot drop a green ball here: ahead is a green key.",
    ]


def test_the_mission_ends_the_episode(env: BabyAITextEnv) -> None:
    reset(env, TASKS[0])
    *_, last = [env.step(action) for action in plan_of(TASKS[0])]
    _, reward, terminated, truncated, info = last
    assert (terminated, truncated, info["success"], info["outcome"]) == (True, False, True, "the mission is done")
    assert 0.8 < reward < 1.0


def test_families_are_ids_or_kinds_of_missions() -> None:
    env = BabyAITextEnv(families=["OpenDoor"])
    assert "door" in env.reset(seed=0)[1]["goal"]
    with pytest.raises(UnknownNameError, match=r"Unknown family 'Opendoor'.* Did you mean 'OpenDoor'"):
        BabyAITextEnv(families=["Opendoor"])


def test_an_unknown_family_is_named(env: BabyAITextEnv) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'BabyAI-GoToLocal-v0'"):
        reset(env, "BabyAI-GoToLocl-v0/1")


SCRIPT = """
import json, sys
from metagym.envs.babyai.env import ACTIONS, BabyAITextEnv
env = BabyAITextEnv()
def walk(task):
    text, info = env.reset(options={"task_id": task})
    return [text, info["goal"], [env.step(ACTIONS[(3 * n + len(task)) % 6])[:4] for n in range(25)]]
print(json.dumps([walk(task) for task in json.loads(sys.argv[1])]))
"""


def test_equal_tasks_are_equal_in_any_process_and_any_order() -> None:
    def walks(tasks: list[str]) -> dict[str, Any]:
        done = run_python(SCRIPT, json.dumps(tasks))
        assert done.returncode == 0, done.stderr
        return dict(zip(tasks, json.loads(done.stdout), strict=True))

    assert walks(TASKS) == walks(TASKS[::-1])


def test_making_levels_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    level = make_level("BabyAI-OneRoomS8-v0")
    level.reset(seed=1)
    goto = make_level("BabyAI-GoTo-v0")
    for seed in range(12):
        goto.reset(seed=seed)  # some of these are sampled in vain
    assert capsys.readouterr().out == ""

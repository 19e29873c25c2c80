"""Checks of the five values that a meta-step returns, and of its trajectories as records."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from metagym.testing.contract_errors import expect, expecting
from metagym.types import Trajectory

INFO_KEYS = ("task_ids", "scores", "successes", "num_failed", "invalid_action_rate", "usage", "fingerprint")


def check_meta_steps(played: Sequence[tuple[Any, ...]]) -> None:
    """Check the values that `step` returned, one five-tuple per meta-step.

    Raises:
        ContractError: a value, a key of `info` or a trajectory breaks the contract.
    """
    remedy = "If you override step, return super().step(...) with your additions."
    for trajectories, reward, terminated, truncated, info in played:
        missing = [key for key in INFO_KEYS if key not in info]
        expect(not missing, "all of the contract's keys in info", got=f"no {missing}", remedy=remedy)
        scores, size = info["scores"], len(trajectories)
        has_shape = isinstance(scores, np.ndarray) and scores.dtype == np.float64 and scores.shape == (size,)
        expect(has_shape, f"info['scores'] as float64 of shape [{size}]", got=scores, remedy=remedy)
        is_mean = isinstance(reward, float) and math.isclose(reward, float(np.nanmean(scores)), abs_tol=1e-9)
        expect(is_mean, "the reward to be the mean of the scores, a float", got=reward, remedy=remedy)
        ids = tuple(trajectory.task.id for trajectory in trajectories)
        expect(info["task_ids"] == ids, f"info['task_ids'] to be {ids}", got=info["task_ids"], remedy=remedy)
        flags = (terminated, truncated)
        expect(all(type(flag) is bool for flag in flags), "terminated and truncated as bools", got=flags, remedy=remedy)
        for trajectory in trajectories:
            _check_round_trip(trajectory)
            _check_nothing_leaks(trajectory)


def _check_round_trip(trajectory: Trajectory) -> None:
    remedy = "Use only text, numbers, lists and dicts in info['display'], and text elsewhere."
    with expecting("a trajectory that JSON can hold", remedy=remedy, errors=ValueError):
        again = Trajectory.model_validate_json(trajectory.model_dump_json())
    remedy = "Use lists instead of tuples and no NaN in info['display']."
    expect(again == trajectory, "a trajectory to equal its JSON round trip", got="another one", remedy=remedy)


def _check_nothing_leaks(trajectory: Trajectory) -> None:
    task_id = trajectory.task.id
    if len(task_id) < 4 or task_id.isdigit():
        return  # such an id may be in a text by chance
    name = re.compile(rf"(?<!\w){re.escape(task_id)}(?!\w)")
    for step in trajectory.steps:
        seen = step.observation
        shown = "\n".join((seen.text, seen.goal, *(seen.available_actions or ())))
        remedy = "Show the model what a player would see; an id may reveal the goal, or the answer."
        expect(not name.search(shown), f"no task id in what the actor sees, {task_id!r}", got=shown, remedy=remedy)

"""BabyAI's own bot as an actor: the upper bound. It sees the whole level, and reads no text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from metagym.envs.babyai.env import ACTIONS
from metagym.envs.babyai.families import make_level
from metagym.tasks.seeds import read_seeded_id
from metagym.types import Action, Episode, Observation, Step

MAX_STEPS = 500


class BabyAIExpert:
    """Plays the plan that BabyAI's bot makes for the level of the task. It solves the default families."""

    scripted = True
    fingerprint = {"kind": "BabyAIExpert"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next action of the plan."""
        plan = plan_of(episode.task.id)
        if len(steps) >= len(plan):
            return Action(text=None, problem="The bot has no further action.")
        return Action(text=plan[len(steps)], thought="BabyAI's bot says so.")


@lru_cache(maxsize=4096)
def plan_of(task_id: str) -> tuple[str, ...]:
    """Return the actions of BabyAI's bot in a level, up to its end; it may fail, as on a few of the large families."""
    from minigrid.utils import baby_ai_bot

    family, seed = read_seeded_id(task_id)
    level = make_level(family)
    level.reset(seed=seed)
    bot: Any = baby_ai_bot.BabyAIBot(level)  # type: ignore[no-untyped-call, unused-ignore]
    plan, action, is_over = list[str](), None, False
    try:
        while not is_over and len(plan) < MAX_STEPS:
            action = bot.replan(action)
            plan.append(ACTIONS[int(action)])
            _, _, terminated, truncated, _ = level.step(action)
            is_over = terminated or truncated
    except Exception:  # the bot has lost its way; its actions so far are the plan
        return tuple(plan)
    finally:
        level.close()
    return tuple(plan)

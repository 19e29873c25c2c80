"""An expert: wins all six families from what any actor sees. For tests, demonstrations and upper bounds."""

from __future__ import annotations

from collections.abc import Sequence

from metagym.envs.alfworld.player import Player, Skills, read_goal, remember
from metagym.types import Action, Episode, Observation, Step


class ALFWorldExpert:
    """Plays with every skill, whatever the prompt says. It searches where such things are usually kept first.

    It reads the sentences that ALFWorld's templates make; a sentence in a human's words it does not.
    """

    scripted = True
    fingerprint = {"kind": "ALFWorldExpert"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next command."""
        return Action(text=expert_command(steps, observation))


def expert_command(steps: Sequence[Step], observation: Observation) -> str | None:
    """Return the expert's next command; None where it cannot read the goal."""
    goal = read_goal(observation.goal)
    if goal is None:
        return None
    skills = Skills(True, (goal.treatment,) if goal.treatment else (), True, True)
    memory = remember(steps, observation)
    return Player(goal, skills, memory, observation.available_actions or ()).next_command()

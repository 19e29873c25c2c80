"""An actor for tests: it plays a given list of actions."""

from __future__ import annotations

from collections.abc import Sequence

from metagym.types import Action, Episode, Observation, Step


class ScriptedActor:
    """Plays the given actions one after another, then repeats the last one.

    >>> import gymnasium, metagym
    >>> env = gymnasium.make("MetaGym/Gates-v0", actor=ScriptedActor(["knock", "dance"]), episodes_per_step=1)
    >>> _, info = env.reset(seed=0)
    >>> trajectories, *_ = env.step(info["default_prompt"])
    >>> trajectories[0].steps[1].is_valid, trajectories[0].stop_reason.value
    (False, 'step limit')
    """

    scripted = True

    def __init__(self, actions: Sequence[str | Action]) -> None:
        self.actions = tuple(Action(text=action) if isinstance(action, str) else action for action in actions)
        self.fingerprint = {"kind": "ScriptedActor", "actions": [action.text for action in self.actions]}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next action."""
        return self.actions[min(len(steps), len(self.actions) - 1)]

"""Null controls: the same reflector, candidates and selection, but with the experience taken away or spoilt.

A gain that a control reaches as well does not come from what the reflector read. Each wrapper changes what a
reflector sees of the *last* meta-step's episodes, and of all before; the prompts stay as they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from metagym.errors import ConfigError, UnknownNameError
from metagym.evaluation.arms import CONTROLS, Arm, kind_of_control
from metagym.extensions import extension_of
from metagym.reflectors import FixedReflector, Reflector, ReflectorSpec, Replay, as_reflector, bind
from metagym.seeding import derive_seed, describe
from metagym.types import MetaStep, Observation, Reflection, Step, StopReason, Trajectory

Batch = tuple[Trajectory, ...]


class ChangedExperience:
    """A reflector that sees other trajectories than were played: `change(batch, rng)` says which.

    The generator follows from the batch's own seeds, so that equal runs are changed equally.
    """

    def __init__(
        self, reflector: ReflectorSpec, change: Callable[[Batch, np.random.Generator], Batch], *, name: str
    ) -> None:
        self.reflector: Reflector = as_reflector(reflector)
        self._change = change
        self.scripted: bool = extension_of(self.reflector).scripted
        self.fingerprint = {"kind": name, "reflector": describe(self.reflector)}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return what the reflector writes after the changed history."""
        return await self.reflector.reflect([self._changed(meta_step) for meta_step in history])

    def bound_to(self, replay: Replay) -> ChangedExperience:
        """Return this reflector, bound to rollouts that are changed as well."""

        async def changed_replay(
            prompts: Sequence[str], task_ids: Sequence[str], *, repetitions: int = 1
        ) -> tuple[MetaStep, ...]:
            played = await replay(prompts, task_ids, repetitions=repetitions)
            return tuple(map(self._changed, played))

        inner = bind(self.reflector, changed_replay)
        return ChangedExperience(inner, self._change, name=self.fingerprint["kind"])

    def _changed(self, meta_step: MetaStep) -> MetaStep:
        seeds = (item.episode.seed for item in meta_step.trajectories)
        rng = np.random.default_rng(derive_seed("control", meta_step.index, *seeds))
        batch = self._change(meta_step.trajectories, rng)
        scores = [item.score for item in batch if item.score is not None]
        reward = sum(scores) / len(scores) if scores else None
        return meta_step.model_copy(update={"trajectories": batch, "reward": reward})


class ConstantPrompt:
    """Writes the same prompt after every meta-step, whatever happened."""

    scripted = False

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        self.fingerprint = {"kind": "ConstantPrompt", "prompt": prompt}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the prompt."""
        return Reflection(prompt=self.prompt, analysis="A constant prompt.")


def permute_outcomes(batch: Batch, rng: np.random.Generator) -> Batch:
    """Put what followed in one episode after the actions of another one of the batch.

    Each trajectory keeps its own actions (taken up again where they end too soon); observations, rewards,
    success and end come from another one. Where a text names the other's action ("You knock."), it names
    the own one then: else the text alone would still tell what the action did.
    """
    if len(batch) < 2:
        raise ConfigError(
            f"Outcomes are permuted across a batch of at least 2 episodes, got {len(batch)}. Raise episodes_per_step, "
            "or leave this control out."
        )
    shift = int(rng.integers(1, len(batch)))  # nobody keeps his own
    return tuple(_graft(item, batch[(index + shift) % len(batch)]) for index, item in enumerate(batch))


def scramble_observations(batch: Batch, rng: np.random.Generator) -> Batch:
    """Shuffle the words of each observation; actions, rewards and outcome stay."""
    return tuple(
        item.model_copy(
            update={
                "steps": tuple(
                    step.model_copy(update={"observation": _scrambled(step.observation, rng)}) for step in item.steps
                ),
                "final_observation": item.final_observation and _scrambled(item.final_observation, rng),
            }
        )
        for item in batch
    )


def take_away(batch: Batch, rng: np.random.Generator) -> Batch:
    """Leave of each episode nothing but that it was played."""
    empty = {
        "steps": (),
        "final_observation": None,
        "stop_reason": StopReason.TRUNCATED,
        "stop_detail": "",
        "success": None,
        "score": None,
    }
    return tuple(item.model_copy(update=empty) for item in batch)


def control_arm(
    control: str,
    reflector: ReflectorSpec,
    *,
    families: Sequence[str] = (),
    other_families: Sequence[str] = (),
    constant_prompt: str | None = None,
) -> Arm:
    """Return the arm that the control's name stands for.

    `other_families` are those whose trajectories `other family` shows; without them each family of
    `families` shows the next one's. `constant_prompt` is needed for `constant prompt`; see
    `metagym.evaluation.constant_prompt.tune_constant_prompt`.

    Raises:
        UnknownNameError: there is no such control.
        ConfigError: something that it needs is missing.
    """
    own = as_reflector(reflector)
    changes: dict[str, Callable[[Batch, np.random.Generator], Batch]] = {
        "empty experience": take_away,
        "scrambled observations": scramble_observations,
        "permuted outcomes": permute_outcomes,
    }
    if control not in CONTROLS:
        raise UnknownNameError.of("control", control, CONTROLS)
    learn_from: Mapping[str, str] = {}
    if control in changes:
        own = ChangedExperience(own, changes[control], name=control)
    elif control == "no reflection":
        own = FixedReflector()
    elif control == "other family":
        learn_from = _other_families(families, other_families)
    elif control == "constant prompt":
        if constant_prompt is None:
            raise ConfigError("The control 'constant prompt' needs the prompt: tune it on the meta-train families.")
        own = ConstantPrompt(constant_prompt)
    return Arm(control, own, learn_from, kind_of_control(control))


def _other_families(families: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    pool = list(others) or [*families[1:], *families[:1]]
    learn_from = {family: pool[index % len(pool)] for index, family in enumerate(families)}
    if any(family == other for family, other in learn_from.items()):
        raise ConfigError(
            f"The control 'other family' needs other families than those evaluated, got {learn_from}. Evaluate two or "
            "more, or name meta-train families."
        )
    return learn_from


def _graft(own: Trajectory, other: Trajectory) -> Trajectory:
    """Return `other`'s course with `own`'s actions in it."""
    if not own.steps or not other.steps:
        return own.model_copy(update=_outcome(other))
    steps: list[Step] = []
    before: tuple[str | None, str | None] = (None, None)
    for index, step in enumerate(other.steps):
        mine = own.steps[index % len(own.steps)]
        observation = _renamed(step.observation, *before)
        steps.append(
            step.model_copy(
                update={
                    "observation": observation,
                    "action": mine.action,
                    "command": mine.command,
                    "is_valid": mine.is_valid,
                }
            )
        )
        before = (step.command, mine.command)
    final = other.final_observation and _renamed(other.final_observation, *before)
    return own.model_copy(update={**_outcome(other), "steps": tuple(steps), "final_observation": final})


def _outcome(trajectory: Trajectory) -> dict[str, Any]:
    names = ("final_observation", "stop_reason", "stop_detail", "success", "score")
    return {name: getattr(trajectory, name) for name in names}


def _renamed(observation: Observation, command: str | None, by: str | None) -> Observation:
    if not command or not by:
        return observation
    pattern = re.compile(rf"(?<!\w){re.escape(command)}(?!\w)", re.IGNORECASE)
    update = {name: pattern.sub(lambda _: by, getattr(observation, name)) for name in ("text", "feedback")}
    return observation.model_copy(update=update)


def _scrambled(observation: Observation, rng: np.random.Generator) -> Observation:
    """Shuffle the words, and keep the white space between them where it was."""
    parts = re.split(r"(\s+)", observation.text)
    words = [parts[2 * index] for index in rng.permutation((len(parts) + 1) // 2)]
    parts[::2] = words
    return observation.model_copy(update={"text": "".join(parts), "feedback": "", "display": None})

"""Arms, evaluated side by side, and null controls: the same reflector with its experience removed or damaged.

A gain that a control reaches as well does not come from the experience that the reflector read. Each wrapper changes
the episodes of every meta-step that a reflector sees; the prompts stay as they were.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, cast

import numpy as np

from metagym.errors import ConfigError, UnknownNameError
from metagym.evaluation.kept_values import KeptValues
from metagym.optimizers import Optimizer
from metagym.optional_attributes import describe, extension_of
from metagym.reflectors import FixedReflector, Reflector, ReflectorSpec, Replay, as_reflector, bind
from metagym.reflectors.protocol import checked
from metagym.types import MetaStep, Observation, Reflection, Step, StopReason, Trajectory, derive_seed

Trajectories = tuple[Trajectory, ...]
ChangeBatch = Callable[[Trajectories, np.random.Generator], Trajectories]
ArmKind = Literal["method", "same again", "null control", "tuning"]
"""`same again` is the A/A run. `tuning` is the run that a constant prompt was tuned by: it is compared with nothing."""
CONTROLS: Final = (
    "same again",
    "no reflection",
    "empty experience",
    "scrambled observations",
    "permuted outcomes",
    "other family",
    "constant prompt",
    "hidden goal",
    "long prompt",
)
"""The names of the controls. `same again` measures the noise floor; the others are null controls."""
WITHOUT_REFLECTION: Final = ("no reflection", "constant prompt", "long prompt")
"""The controls that ask no reflector."""
FILLER: Final = "This line is here for its length."


class Arm(NamedTuple):
    """A reflector under the name that it is evaluated by, the families that it learns on, and its optimizer."""

    name: str
    reflector: Reflector
    learn_from: Mapping[str, str] = {}
    kind: ArmKind = "method"
    optimizer: Optimizer | None = None


def is_control(kind: ArmKind) -> bool:
    """Return whether the arm is there to be compared with: the A/A run or a null control."""
    return kind in ("same again", "null control")


def recorded_kind(evaluation: Mapping[str, Any] | None) -> ArmKind:
    """Return the kind of arm in a manifest's `evaluation` mapping.

    >>> recorded_kind({"arm": "mine", "kind": "null control"}), recorded_kind({"arm": "same again (ict)"})
    ('null control', 'same again')
    """
    about = evaluation or {}
    if "kind" in about:
        return cast("ArmKind", about["kind"])
    # A folder of version 0.1, which wrote no kind. Nothing else may read names.
    name = str(about.get("arm", "")).partition(" (")[0]  # an arena added the method: "same again (ict)"
    if name in CONTROLS:
        return _kind_of_control(name)
    return "tuning" if about.get("arm") == "tuning" else "method"


def _kind_of_control(control: str) -> ArmKind:
    return "same again" if control == "same again" else "null control"


class ChangedExperience:
    """A reflector that sees the trajectories that `change(batch, rng)` returns instead of those that were played.

    The generator follows from the seeds of the batch, so that equal runs are changed equally.
    """

    def __init__(self, reflector: ReflectorSpec, change: ChangeBatch, *, name: str) -> None:
        self.reflector: Reflector = as_reflector(reflector)
        self._change = change
        self._known: KeptValues[MetaStep] = KeptValues()
        about = extension_of(self.reflector)
        self.scripted, self.model, self.needs_chance = about.scripted, about.model, about.needs_chance
        self.fingerprint = {"kind": name, "reflector": describe(self.reflector)}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the wrapped reflector's reflection on the changed history."""
        changed = tuple(self._known.of(meta_step, self._changed) for meta_step in history)
        return checked(await self.reflector.reflect(changed))

    def bound_to(self, replay: Replay) -> ChangedExperience:
        """Return this reflector, bound to rollouts that are changed as well."""

        async def changed_replay(
            prompts: Sequence[str], task_ids: Sequence[str], *, repetitions: int = 1
        ) -> tuple[MetaStep, ...]:
            played = await replay(prompts, task_ids, repetitions=repetitions)
            return tuple(map(self._changed, played))

        bound = copy.copy(self)  # it is bound again at each reflection, and shares the changed meta-steps
        bound.reflector = bind(self.reflector, changed_replay)
        return bound

    def seen(self, meta_step: MetaStep) -> MetaStep:
        """Return the meta-step as the wrapped reflector sees it."""
        return self._changed(meta_step)

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


def permute_outcomes(batch: Trajectories, rng: np.random.Generator) -> Trajectories:
    """Exchange the outcomes of the episodes of a batch: the observations, rewards, success and end.

    Each trajectory keeps its own actions, which start again if they end too soon. In the observations that it gets
    from another trajectory, its own actions replace the names of the other's ("You knock."). Otherwise the text
    alone would still show the effect of an action.
    """
    _check_batch(len(batch))
    shift = int(rng.integers(1, len(batch)))  # no episode keeps its own outcome
    return tuple(_graft(item, batch[(index + shift) % len(batch)]) for index, item in enumerate(batch))


def scramble_observations(batch: Trajectories, rng: np.random.Generator) -> Trajectories:
    """Shuffle the words of each observation, and remove feedback and displays; actions, rewards and outcome stay."""

    def shuffled(text: str) -> str:
        parts = re.split(r"(\s+)", text)  # the white space between the words stays in its place
        parts[::2] = [parts[2 * index] for index in rng.permutation((len(parts) + 1) // 2)]
        return "".join(parts)

    def scrambled(observation: Observation) -> Observation:
        update = {"text": shuffled(observation.text), "feedback": "", "display": None}
        return observation.model_copy(update=update)

    def changed(item: Trajectory) -> Trajectory:
        steps = [step.model_copy(update={"observation": scrambled(step.observation)}) for step in item.steps]
        final = item.final_observation and scrambled(item.final_observation)
        return item.model_copy(update={"steps": tuple(steps), "final_observation": final})

    return tuple(map(changed, batch))


def take_away(batch: Trajectories, rng: np.random.Generator) -> Trajectories:
    """Remove everything from each episode except the fact that it was played."""
    outcome = {"final_observation": None, "stop_reason": StopReason.TRUNCATED, "stop_detail": ""}
    empty = {**outcome, "steps": (), "success": None, "score": None}
    return tuple(item.model_copy(update=empty) for item in batch)


def hide_goals(batch: Trajectories, rng: np.random.Generator) -> Trajectories:
    """Remove the goal from each observation, and from its text."""

    def without_goal(observation: Observation) -> Observation:
        text = observation.text.replace(observation.goal, "") if observation.goal else observation.text
        return observation.model_copy(update={"goal": "", "text": text})

    def changed(item: Trajectory) -> Trajectory:
        steps = [step.model_copy(update={"observation": without_goal(step.observation)}) for step in item.steps]
        final = item.final_observation and without_goal(item.final_observation)
        return item.model_copy(update={"steps": tuple(steps), "final_observation": final})

    return tuple(map(changed, batch))


def long_prompt(first: str, learned: Sequence[str]) -> str:
    """Return the first prompt with lines without any content, as long as the learned prompts are on average.

    >>> long_prompt("Play.", ["Play. When the gate is oak, push."])
    'Play.\\nThis line is here for its length.'
    """
    wanted = sum(map(len, learned)) / max(1, len(learned))
    return "\n".join([first, *[FILLER] * max(0, round((wanted - len(first)) / (len(FILLER) + 1)))])


_CHANGES: Final[Mapping[str, ChangeBatch]] = {
    "hidden goal": hide_goals,
    "empty experience": take_away,
    "scrambled observations": scramble_observations,
    "permuted outcomes": permute_outcomes,
}


def control_arm(
    control: str,
    reflector: ReflectorSpec,
    *,
    families: Sequence[str] = (),
    other_families: Sequence[str] = (),
    constant_prompt: str | None = None,
) -> Arm:
    """Return the arm of the control with this name.

    With `other family` the reflector learns on `other_families`; without them, each of `families` learns on the next
    one. `constant prompt` and `long prompt` need `constant_prompt`; see `tune_constant_prompt` and `long_prompt`.

    Raises:
        ConfigError: there is no such control, or something that it needs is missing.
    """
    own = as_reflector(reflector)
    if control not in CONTROLS:
        raise UnknownNameError.of("control", control, CONTROLS)
    learn_from: Mapping[str, str] = {}
    if control in _CHANGES:
        own = ChangedExperience(own, _CHANGES[control], name=control)
    elif control == "no reflection":
        own = FixedReflector()
    elif control == "other family":
        learn_from = _other_families(families, other_families)
    elif control in ("constant prompt", "long prompt"):
        if constant_prompt is None:
            raise ConfigError(f"{control!r} needs a prompt, got nothing. Tune one on the meta-train families.")
        own = ConstantPrompt(constant_prompt)
    return Arm(control, own, learn_from, _kind_of_control(control))


def check_control(
    control: str, *, families: Sequence[str], train_families: Sequence[str], episodes_per_step: int
) -> None:
    """Raise ConfigError if the arm of this control cannot be made or played; nothing needs to be played for it."""
    if control == "other family":
        _other_families(families, train_families)
    elif control == "constant prompt":
        check_train_families(families, train_families)
    elif control == "permuted outcomes":
        _check_batch(episodes_per_step)


def check_train_families(families: Sequence[str], train_families: Sequence[str]) -> None:
    """Raise ConfigError unless there are meta-train families, all different from those evaluated."""
    if not train_families or set(train_families) & set(families):
        raise ConfigError(
            "Expected meta-train families other than those evaluated to tune a constant prompt on, got "
            f"{list(train_families)} beside {list(families)}. Name others in train_families, or leave this control out."
        )


def _check_batch(num_episodes: int) -> None:
    if num_episodes < 2:
        raise ConfigError(
            f"Expected a batch of at least 2 episodes to permute outcomes across, got {num_episodes}. Raise "
            "episodes_per_step, or leave this control out."
        )


def _other_families(families: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    pool = list(others) or [*families[1:], *families[:1]]
    learn_from = {family: pool[index % len(pool)] for index, family in enumerate(families)}
    if any(family == other for family, other in learn_from.items()):
        raise ConfigError(
            f"The control 'other family' needs families other than those evaluated, got {learn_from}. Evaluate two or "
            "more, or name meta-train families."
        )
    return learn_from


def _graft(own: Trajectory, other: Trajectory) -> Trajectory:
    if not own.steps or not other.steps:
        return own.model_copy(update=_outcome(other))
    steps: list[Step] = []
    before: tuple[str | None, str | None] = (None, None)
    for index, step in enumerate(other.steps):
        mine = own.steps[index % len(own.steps)]
        kept = {"action": mine.action, "command": mine.command, "is_valid": mine.is_valid}
        steps.append(step.model_copy(update={"observation": _renamed(step.observation, *before), **kept}))
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

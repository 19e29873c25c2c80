"""MetaEnv: a Gymnasium environment whose action is a system prompt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import gymnasium
import numpy as np

from metagym import background
from metagym._version import __version__
from metagym.actor import Actor, ActorSpec, make_actor
from metagym.adapter import ToolEnv
from metagym.budget import Ledger
from metagym.config import read_options
from metagym.errors import BudgetExceededError, ConfigError
from metagym.imports import package_versions
from metagym.meta_episode import MetaEpisode, make_schedule, meta_step_of, tasks_to_replay
from metagym.optional_attributes import describe, extension_of, import_path, plain_fingerprint
from metagym.reflectors import Reflector
from metagym.rendering import render_batch
from metagym.rollout import Player, Recorder, default_score, progress_score
from metagym.spaces import PromptSpace, TrajectorySpace
from metagym.tasks import TaskSet, check_task_set, is_task_list
from metagym.types import Episode, MetaStep, Task, Trajectory, clean_text, digest, sum_usage
from metagym.workers import make_workers

ACTION_GRAMMAR = "exact, then case and white space"


class MetaEnv(gymnasium.Env[tuple[Trajectory, ...], str]):
    """An environment whose action is a system prompt: one step plays a batch of episodes under it.

    A subclass defines environment and tasks (`make_inner_env`, `make_task_set`). It may also define the score of an
    episode (`score`), the first prompt (`default_prompt`), and a scripted actor for offline use (`make_demo_actor`).
    Options are the fields of `MetaEnvConfig`. A `Player` plays the episodes.

    >>> import gymnasium, metagym
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     _, info = env.reset(seed=0)
    ...     trajectories, reward, terminated, truncated, info = env.step(info["default_prompt"])
    >>> len(trajectories), 0.0 <= reward <= 1.0, terminated, truncated
    (5, True, False, False)
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 1}  # type: ignore[misc]
    default_prompt: str = "You act in an environment. Reach the goal in as few steps as you can."
    """`sp_0`, the first prompt of a meta-episode."""
    default_options: ClassVar[Mapping[str, Any]] = {}
    """A subclass's defaults for the fields of `MetaEnvConfig`."""
    names_kinds: ClassVar[bool | None] = None
    """Whether tasks name a kind within their family (`Task.kind`): plans count the episodes on fresh tasks of kinds.
    None means: as the task set says, so that a plan makes the environment to know it."""
    offers_tools: ClassVar[bool | None] = None
    """Whether the inner environment offers tools, so that a model acts by calling them. None means: if
    `make_inner_env` is a subclass of `ToolEnv`."""

    def __init__(
        self,
        actor: ActorSpec = None,
        *,
        render_mode: Literal["ansi"] | None = None,
        on_episode: Callable[[Trajectory], None] | None = None,
        **options: Any,
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise ConfigError(f"render_mode must be 'ansi' or None, got {render_mode!r}.")
        self.config = read_options({**self.default_options, **options})
        if self.config.score != "success" and type(self).score is not MetaEnv.score:
            raise ConfigError(f"score={self.config.score!r} has no effect: {type(self).__name__} has its own score.")
        make_schedule(self.config.schedule)  # so that an unknown name fails here, not at the first reset
        self.task_set = check_task_set(self.make_task_set())
        self.families = self.task_set.expand_families(self.config.families)
        self.task_set.check_split(self.config.split)
        self.actor: Actor = make_actor(actor, demo=self.make_demo_actor, offers_tools=self._offers_tools())
        self.render_mode = render_mode
        self._prompts = self.action_space = PromptSpace()
        self.observation_space = TrajectorySpace()
        self._workers = make_workers(self.config.workers, self.make_inner_env, self.inner_env_factory)
        self.player = Player(
            self.actor, self._workers, self.config, score=self.score, ledger=Ledger(self.config.budget)
        )
        self.player.on_episode = on_episode
        self._owns_actor = actor is not self.actor
        self._meta_episode: MetaEpisode | None = None
        self._last_batch: tuple[Trajectory, ...] = ()
        self._fingerprint_digest = digest(self.fingerprint)

    def make_inner_env(self) -> gymnasium.Env[str, str]:
        """Make one inner environment. It is pooled, and reused through `reset`."""
        raise _not_written(self, "make_inner_env", "return a gymnasium.Env[str, str]")

    def make_task_set(self) -> TaskSet:
        """Make the set of tasks that batches are drawn from."""
        raise _not_written(self, "make_task_set", "return metagym.TaskSet.from_seeds(self.make_inner_env, 500), say")

    def score(self, trajectory: Trajectory) -> float:
        """Return the score of an episode: by default 1.0 or 0.0 by success, else the return; see the option `score`."""
        return progress_score(trajectory) if self.config.score == "progress" else default_score(trajectory)

    def _offers_tools(self) -> bool:
        make = self.make_inner_env
        is_tool_env = isinstance(make, type) and issubclass(make, ToolEnv)
        return is_tool_env if self.offers_tools is None else self.offers_tools

    def inner_env_factory(self) -> Callable[[], gymnasium.Env[str, str]]:
        """Return a picklable function that makes an inner environment in a worker process.

        The default is `make_inner_env`, which must then be a static method. Override this if it is not.
        """
        return self.make_inner_env

    def make_demo_actor(self) -> Actor:
        """Make the scripted actor that plays if no model is named."""
        raise ConfigError(
            f"{type(self).__name__} has no demo actor. Pass actor={{'model': ...}}, set METAGYM_MODEL, "
            "or say actor='random'."
        )

    def make_demo_reflector(self) -> Reflector:
        """Make the scripted reflector that goes with the demo actor."""
        raise ConfigError(f"{type(self).__name__} has no demo reflector. Name a model for the reflector.")

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[tuple[Trajectory, ...], dict[str, Any]]:
        """Start a meta-episode, and play nothing. `options={"task_ids": [...]}` gives its tasks in order.

        Raises:
            TasksExhaustedError: there are too few tasks for one meta-step.
        """
        super().reset(seed=seed)
        task_ids = reset_option(options, "task_ids")
        if task_ids is not None and not is_task_list(task_ids):
            raise ConfigError(f"options['task_ids'] must be a list of task ids, got {task_ids!r}.")
        self._last_batch = ()
        self._meta_episode = self.new_meta_episode(self.np_random, task_ids=task_ids).begin()
        return (), {"default_prompt": self.default_prompt, "fingerprint": self._fingerprint_digest}

    def step(self, action: str) -> tuple[tuple[Trajectory, ...], float, bool, bool, dict[str, Any]]:
        """Play a batch of episodes under the prompt `action`.

        Raises:
            InvalidPromptError, TasksExhaustedError: nothing was played.
            EpisodesFailedError: too many episodes failed for infrastructure reasons; carries the partial `meta_step`.
            BudgetExceededError: the budget ran out; carries the partial `meta_step`. With a larger `ledger.budget`
                the next step under the same prompt plays only the missing episodes.
        """
        prompt = self.check_prompt(action)
        if self._meta_episode is None:
            raise gymnasium.error.ResetNeeded("Call env.reset() before the first env.step(prompt).")
        try:
            self._last_batch = self.play(self._meta_episode.episodes(prompt))
        except BudgetExceededError as error:
            error.meta_step = meta_step_of(self._meta_episode.index, prompt, error.trajectories)
            raise
        meta_step = self._meta_episode.finish(prompt, self._last_batch)
        return self.outcome(meta_step, self._meta_episode)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ConfigError(
            "A meta-environment holds connections and environments, and cannot be copied or pickled. Make another one "
            "with metagym.make(env.spec.id, **env.spec.kwargs), or use env.unwrapped.branch(...)."
        )

    def render(self) -> str | None:  # type: ignore[override, unused-ignore]
        """Return the last batch as text (render mode `ansi`)."""
        return render_batch(self._last_batch, show_thoughts=True) if self.render_mode == "ansi" else None

    def close(self) -> None:
        """Close the inner environments, and the connections of an actor made here. Calling it twice is fine."""
        self._workers.close()
        self.task_set.close()
        if self._owns_actor:
            self._owns_actor = False
            background.run_or_start(extension_of(self.actor).aclose())

    @property
    def ledger(self) -> Ledger:
        """Counts episodes, steps, time, and every attempt at a model call."""
        return self.player.ledger

    @ledger.setter
    def ledger(self, ledger: Ledger) -> None:
        self.player.ledger = ledger

    @property
    def on_episode(self) -> Callable[[Trajectory], None] | None:
        """Called with each finished trajectory, from the engine's thread."""
        return self.player.on_episode

    @on_episode.setter
    def on_episode(self, on_episode: Callable[[Trajectory], None] | None) -> None:
        self.player.on_episode = on_episode

    def replay(self, prompts: Sequence[str], task_ids: Sequence[str], *, repetitions: int = 1) -> tuple[MetaStep, ...]:
        """Play the same tasks, of any split, under several prompts at once; return one MetaStep a prompt.

        Its trajectories are in the order of `task_ids`, with the repetitions of a task side by side. An episode that
        failed for infrastructure reasons has the score None. Replay draws no tasks: the meta-episode is unchanged.
        """
        # Before the first reset the seed is 0, so that a replay is the same in every process.
        meta_episode = self._meta_episode or self.new_meta_episode(np.random.default_rng(0))
        tasks, index = self._tasks_to_replay(prompts, task_ids, repetitions), meta_episode.index
        episodes = meta_episode.episodes_under(prompts, tasks, arm=f"{self.config.arm}/replay", meta_step=index)
        return _by_prompt(index, prompts, self.play(episodes))

    async def replay_async(
        self,
        prompts: Sequence[str],
        task_ids: Sequence[str],
        *,
        repetitions: int = 1,
        meta_episode: MetaEpisode | None = None,
    ) -> tuple[MetaStep, ...]:
        """Play tasks again from asynchronous code: the rollouts of a reflector that asks for its own.

        Unlike `replay` it uses other seeds, and books its episodes with the last finished meta-step, by default of the
        environment's own meta-episode.
        """
        meta_episode = meta_episode or self._meta_episode or self.new_meta_episode(np.random.default_rng(0))
        index = max(0, meta_episode.index - 1)
        tasks = self._tasks_to_replay(prompts, task_ids, repetitions)
        episodes = meta_episode.episodes_under(prompts, tasks, arm=f"{meta_episode.arm}/rollouts", meta_step=index)
        return _by_prompt(index, prompts, await background.run_from(self.player.play(episodes)))

    def record_to(self, recorder: Recorder | None) -> Recorder | None:
        """Keep every episode in `recorder`, and recall earlier ones from it; return the previous recorder."""
        if (count_in := extension_of(recorder).count_in) is not None:
            count_in(self.ledger)
        before, self.player.recorder = self.player.recorder, recorder
        return before

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What must match before two runs are compared, as a JSON mapping; `info` holds its digest."""
        config = self.config.model_dump(
            exclude={"families", "schedule", "arm", "max_concurrency", "workers", "budget", "allow_bad_batches"}
        )
        if self.config.score == "success":  # as in runs of 0.1, which had no such option
            del config["score"]
        return {
            "metagym": __version__,
            "environment": f"{type(self).__module__}:{type(self).__qualname__}",
            **config,
            "families": digest(self.families) if len(self.families) > 20 else list(self.families),
            "schedule": describe(self.config.schedule),
            "action_grammar": ACTION_GRAMMAR,
            "actor": describe(self.actor),
            "inner": plain_fingerprint(self.inner_fingerprint(), import_path(self)),
            "packages": package_versions("gymnasium", "numpy"),
        }

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the settings of the inner environment besides the options: its own options, packages and data."""
        return {}

    def new_meta_episode(
        self, rng: np.random.Generator, *, arm: str | None = None, task_ids: Sequence[str] | None = None
    ) -> MetaEpisode:
        """Return a meta-episode of this environment's tasks, drawn from `rng`."""
        arm = self.config.arm if arm is None else arm
        return MetaEpisode(self.task_set, self.config, rng=rng, arm=arm, task_ids=task_ids)

    def branch(self, *, ledger: Ledger, rng: np.random.Generator, retries: int = 0, **options: Any) -> Self:
        """Return an environment over the same actor, tasks and workers, with its own options and ledger.

        Its first `reset` without a seed draws from `rng`. An episode that fails for infrastructure reasons is
        retried up to `retries` times. Closing this environment closes the branch.
        """
        if wrong := ", ".join(sorted({"workers", "max_concurrency", "budget"} & set(options))):
            raise ConfigError(f"A branch takes no {wrong}: workers are shared, limits stand in ledger=Ledger(budget).")
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.config = read_options({**dict(self.config), **options})
        other.families = self.task_set.expand_families(other.config.families)
        other.task_set.check_split(other.config.split)
        other.np_random, other._owns_actor = rng, False
        other._meta_episode, other._last_batch = None, ()
        other.player = self.player.branch(other.config, score=other.score, ledger=ledger, retries=retries)
        other._fingerprint_digest = digest(other.fingerprint)
        return other

    def check_prompt(self, prompt: object) -> str:
        """Return `prompt` if it is a valid prompt, else raise InvalidPromptError."""
        if isinstance(prompt, str) and len(prompt) <= self._prompts.max_length and clean_text(prompt) == prompt:
            return prompt
        return self._prompts.check(prompt)  # its error names the mistake

    def play(self, episodes: Sequence[Episode]) -> tuple[Trajectory, ...]:
        """Play episodes of any meta-episode in one run of the engine."""
        return background.run(self.player.play(episodes))

    def outcome(
        self, meta_step: MetaStep, meta_episode: MetaEpisode
    ) -> tuple[tuple[Trajectory, ...], float, bool, bool, dict[str, Any]]:
        """Return a finished meta-step as `step` returns it."""
        assert meta_step.reward is not None
        threshold = self.config.success_threshold
        terminated = threshold is not None and meta_step.reward >= threshold
        truncated = meta_episode.is_exhausted
        return meta_step.trajectories, meta_step.reward, terminated, truncated, self._info(meta_step)

    def _tasks_to_replay(self, prompts: Sequence[str], task_ids: Sequence[str], repetitions: int) -> list[Task]:
        tasks = tasks_to_replay(self.task_set, prompts, task_ids, repetitions)
        for prompt in prompts:
            self.check_prompt(prompt)
        return tasks

    def _info(self, meta_step: MetaStep) -> dict[str, Any]:
        trajectories = meta_step.trajectories
        num_steps = sum(len(item.steps) for item in trajectories)
        return {
            "task_ids": tuple(item.task.id for item in trajectories),
            "scores": np.array([math.nan if s is None else s for s in meta_step.scores], dtype=np.float64),
            "successes": tuple(item.success for item in trajectories),
            "num_failed": meta_step.num_failed,
            "invalid_action_rate": sum(item.num_invalid for item in trajectories) / max(1, num_steps),
            "usage": sum_usage(item.usage for item in trajectories).model_dump(),
            "fingerprint": self._fingerprint_digest,
        }


def meta_env_of(env: object) -> MetaEnv:
    """Return the meta-environment inside the wrappers of `env`."""
    inner = getattr(env, "unwrapped", env)
    if isinstance(inner, MetaEnv):
        return inner
    raise ConfigError(f"Expected a meta-environment, got {type(inner).__name__}. metagym.make(id) makes one.")


def _by_prompt(index: int, prompts: Sequence[str], played: tuple[Trajectory, ...]) -> tuple[MetaStep, ...]:
    rest, size = iter(played), len(played) // max(1, len(prompts))
    return tuple(meta_step_of(index, prompt, tuple(itertools.islice(rest, size))) for prompt in prompts)


def _not_written(env: MetaEnv, method: str, remedy: str) -> NotImplementedError:
    return NotImplementedError(f"Expected {type(env).__name__} to override {method}(), got nothing: {remedy}.")


def reset_option(options: Mapping[str, Any] | None, known: str) -> Any:
    """Return the one option that `reset` knows; None if it was not given."""
    for name in options or {}:
        if name != known:
            raise ConfigError(f"Unknown reset option {name!r}: expected {known!r}.")
    return (options or {}).get(known)

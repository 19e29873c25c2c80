"""MetaVectorEnv: several prompts in one meta-step, all their episodes in one run of the engine."""

from __future__ import annotations

import contextlib
import copy
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from metagym.env import MetaEnv, reset_option
from metagym.errors import BudgetExceededError, ConfigError, EpisodesFailedError
from metagym.meta_episode import MetaEpisode, meta_step_of
from metagym.rendering import render_batch
from metagym.types import MetaStep, Trajectory

Batch = tuple[Trajectory, ...]
Array = np.ndarray[Any, Any]
Outcome = tuple[tuple[Batch, ...], Array, Array, Array, dict[str, Any]]
"""The batches, rewards, terminated and truncated flags, and infos of a step."""


class MetaVectorEnv(VectorEnv[tuple[Batch, ...], tuple[str, ...], Array]):
    """`num_envs` meta-episodes side by side: `gym.make_vec("MetaGym/Gates-v0", num_envs=8)`.

    A step takes one prompt for each, and returns for each the trajectories (a tuple), the reward (float64, shape
    `[num_envs]`), and the flags (bool, shape `[num_envs]`). No prompt waits for another: all episodes share one engine.
    With `same_tasks=True` every prompt is played on the same batch. Nothing is reset automatically
    (`AutoresetMode.DISABLED`): `reset(options={"reset_mask": mask})` restarts the meta-episodes that are over.

    >>> import gymnasium, metagym
    >>> envs = gymnasium.make_vec("MetaGym/Gates-v0", num_envs=2, actor="demo", same_tasks=True)
    >>> _, infos = envs.reset(seed=0)
    >>> batches, rewards, terminated, truncated, infos = envs.step(("Be quick.", "Be slow."))
    >>> [len(batch) for batch in batches], rewards.shape, infos["task_ids"][0] == infos["task_ids"][1]
    ([5, 5], (2,), True)
    >>> envs.close()
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi"],
        "render_fps": 1,
        "autoreset_mode": AutoresetMode.DISABLED,
    }

    def __init__(
        self,
        make_env: Callable[..., MetaEnv],
        num_envs: int,
        *,
        same_tasks: bool = False,
        max_episode_steps: int | None = None,
        **options: Any,
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, got {num_envs}.")
        self.num_envs = num_envs
        self.env = make_env(**options)
        """The meta-environment whose engine, task set and actor all meta-episodes share."""
        self.render_mode = self.env.render_mode
        self._same_tasks, self._max_episode_steps = same_tasks, max_episode_steps
        self.single_action_space = self.env.action_space
        self.single_observation_space = self.env.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._episodes: list[MetaEpisode | None] = [None] * num_envs
        self._rngs: list[np.random.Generator] = []
        self._over = np.zeros(num_envs, dtype=np.bool_)
        self._last: list[Batch] = [()] * num_envs

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ConfigError(
            "A vector of meta-environments holds connections and environments, and cannot be copied or pickled. Make "
            "another one with gymnasium.make_vec(id, num_envs=..., **options)."
        )

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[tuple[Batch, ...], dict[str, Any]]:
        """Start all meta-episodes, or those that `options["reset_mask"]` (bool, shape `[num_envs]`) marks.

        An int seeds meta-episode i with `seed + i`; one that is not marked takes no seed. With `same_tasks` all take
        the first seed. The observation of a meta-episode that is not marked is its last one.
        """
        mask = self._read_mask(options)
        self._seed(self._read_seeds(seed), mask)
        infos: dict[str, Any] = {}
        for index in np.flatnonzero(mask):
            arm = f"{self.env.config.arm}/{index}"
            self._episodes[index] = self.env.new_meta_episode(self._rngs[index], arm=arm).begin()
            self._over[index], self._last[index] = False, ()
            infos = self._add_info(infos, {"default_prompt": self.env.default_prompt}, int(index))
        return tuple(self._last), infos

    def step(self, actions: Sequence[str]) -> Outcome:
        """Play a batch of episodes under each prompt.

        Raises:
            InvalidPromptError, TasksExhaustedError: nothing was played.
            EpisodesFailedError: too many episodes of one prompt failed; its `meta_steps` are those of all prompts.
                With `same_tasks` the next step then plays the whole batch again, under every prompt.
        """
        is_list = isinstance(actions, Sequence | np.ndarray) and not isinstance(actions, str)
        if not is_list or len(actions) != self.num_envs:
            raise ConfigError(f"Expected {self.num_envs} prompts, one for each meta-episode, got {actions!r:.80}.")
        prompts = [self.env.check_prompt(prompt) for prompt in actions]
        running = [episode for episode in self._episodes if episode is not None]
        if len(running) < self.num_envs or self._over.any():
            over = ", ".join(map(str, np.flatnonzero(self._over))) or "all"
            raise gymnasium.error.ResetNeeded(
                f"Meta-episodes {over} are over or not started: call reset(options={{'reset_mask': mask}}) for them."
            )
        groups = [episode.episodes(prompt) for episode, prompt in zip(running, prompts, strict=True)]
        try:
            batches = _like(groups, self.env.play([episode for group in groups for episode in group]))
        except BudgetExceededError as error:
            cut_off = zip(running, prompts, _like(groups, error.trajectories), strict=True)
            error.meta_steps = tuple(meta_step_of(episode.index, prompt, batch) for episode, prompt, batch in cut_off)
            raise
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), dtype=np.bool_)
        infos: dict[str, Any] = {}
        meta_steps: list[MetaStep] = []
        failures: list[EpisodesFailedError] = []
        for episode, prompt, batch in zip(running, prompts, batches, strict=True):
            meta_steps.append(meta_step_of(episode.index, prompt, batch))
            try:
                episode.check(meta_steps[-1])
            except EpisodesFailedError as error:
                failures.append(error)
        for index, (episode, prompt, batch) in enumerate(zip(running, prompts, batches, strict=True)):
            if failures and self._same_tasks:
                break  # only meta-episodes that move on together draw equal tasks: all play this batch again
            try:
                episode.finish(prompt, batch)
            except EpisodesFailedError:
                continue
            _, rewards[index], terminated[index], truncated[index], info = self.env.outcome(meta_steps[index], episode)
            if self._max_episode_steps is not None and episode.index >= self._max_episode_steps:
                truncated[index] = True
            infos = self._add_info(infos, info, index)
        self._over |= terminated | truncated
        self._last = list(batches)
        if failures:
            failures[0].meta_steps = tuple(meta_steps)
            raise failures[0]
        return batches, rewards, terminated, truncated, infos

    def render(self) -> tuple[str, ...] | None:  # type: ignore[override, unused-ignore]
        """Return the last batch of each meta-episode as text (render mode `ansi`)."""
        if self.render_mode != "ansi":
            return None
        return tuple(render_batch(batch, show_thoughts=True) for batch in self._last)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the meta-environment."""
        # Gymnasium calls this from __del__, also if the constructor raised.
        if hasattr(self, "env"):
            self.env.close()

    def _read_mask(self, options: Mapping[str, Any] | None) -> Array:
        given = reset_option(options, "reset_mask")
        mask = np.ones(self.num_envs, dtype=np.bool_) if given is None else np.asarray(given)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ConfigError(f"reset_mask must be bool of shape [{self.num_envs}], got {mask.dtype} {mask.shape}.")
        if self._same_tasks and not mask.all():
            raise ConfigError("With same_tasks=True all meta-episodes begin together: leave the reset_mask out.")
        if waiting := [i for i, episode in enumerate(self._episodes) if episode is None and not mask[i]]:
            raise gymnasium.error.ResetNeeded(
                f"Meta-episodes {', '.join(map(str, waiting))} have not begun: call reset() without a reset_mask first."
            )
        return mask

    def _read_seeds(self, seed: Any) -> list[Any]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, np.ndarray):
            seed = seed.tolist()
        if isinstance(seed, Sequence) and not isinstance(seed, str):
            return list(seed)
        with contextlib.suppress(TypeError):
            return [operator.index(seed) + i for i in range(self.num_envs)]
        return [seed] * self.num_envs

    def _seed(self, seeds: Sequence[object], mask: NDArray[np.bool_]) -> None:
        if len(seeds) != self.num_envs:
            raise ConfigError(f"Expected {self.num_envs} seeds, got {len(seeds)}.")
        seeded = [_generator(seed) for seed in seeds]  # all are checked before one is used
        if self._same_tasks:
            # Equal generators draw equal tasks; different arms give the model different seeds.
            if seeds[0] is not None or not self._rngs:
                self._rngs = [copy.deepcopy(seeded[0]) for _ in seeds]
        else:
            kept = [seed is None or not is_marked for seed, is_marked in zip(seeds, mask, strict=True)]
            rngs = self._rngs or seeded
            self._rngs = [old if keep else new for keep, old, new in zip(kept, rngs, seeded, strict=True)]


def _generator(seed: Any) -> np.random.Generator:
    """Return a generator as `MetaEnv.reset` makes one, with the same errors; an integer of any type is a seed."""
    with contextlib.suppress(TypeError):
        seed = operator.index(seed)
    return np_random(seed)[0]


def _like(groups: Sequence[Sequence[object]], played: Sequence[Trajectory]) -> tuple[Batch, ...]:
    rest = iter(played)
    return tuple(tuple(itertools.islice(rest, len(group))) for group in groups)

"""The training run: GRPO on a data set or on meta-episodes, with metrics, checkpoints, exact resume and evaluations.

RUN/config.json        the settings, and all that decides the rewards; a resumed run must have the same
RUN/start/             names the start model; this path is a reflector, the untrained one
RUN/merged/            only for an adapter on an adapter: the start model with its own adapter merged
RUN/metrics.jsonl      one line per step; RUN/tensorboard/ has the same if tensorboard is installed
RUN/evaluations.jsonl  one line per evaluation; the first is before any training
RUN/samples.jsonl      one line per reflection; `export.py` reads them
RUN/calls.jsonl        the model calls of the replays, and played.jsonl their episodes: a budget counts both on resume
RUN/checkpoints/       NNNNNN/: the model (or adapter) and tokenizer after NNNNNN steps, which any library can load, and
                       state.pt with all else that the next step depends on; the newest is the trained reflector

No random generator is stored: the randomness of a step follows from the seed and the step's number alone.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from pydantic import Field

from metagym.errors import ConfigError, InfrastructureError, RunFolderError
from metagym.files import write_whole
from metagym.optional_attributes import import_path
from metagym.rendering import duration_text
from metagym.runs.earlier_use import counting_replays
from metagym.training.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from metagym.training.experience import Experience, Render, chat_messages, check_experience, read_lines
from metagym.training.grpo import GRPO, GRPOConfig, single_turns
from metagym.training.local_reflector import SERVED, Evaluate, Served
from metagym.training.meta_episode_env import MetaEpisodeConfig, MetaEpisodeGroups, Rollouts
from metagym.training.metrics import Group, append_lines, drop_from, group_metrics, tensorboard
from metagym.training.policy import Policy, check_start_of_adapter, is_adapter
from metagym.training.reward import MetaReward
from metagym.types import Record, Text, digest

logger = logging.getLogger(__name__)


class TrainingConfig(Record):
    """The length of a training run, its seed, and the weights that are trained."""

    num_steps: int = Field(default=25, ge=1)
    seed: int = Field(default=0, ge=0)
    save_every: int = Field(default=5, ge=0)
    """Steps between checkpoints; the last step has one. 0 means no other."""
    evaluate_every: int = Field(default=0, ge=0)
    """Steps between evaluations; one is before the first step, and one after the last. 0 means no evaluation."""
    lora_rank: int | None = Field(default=None, ge=1)
    """Train a LoRA adapter of this rank; None trains all parameters."""
    dtype: Text = "float32"


class TrainingProgress(NamedTuple):
    """What a training run does at the moment."""

    step: int
    """The step that is under way, from 0."""
    num_steps: int
    doing: str
    done: int
    total: int
    """How much of `doing` is done, of how much."""
    reward: float | None
    """The mean reward of the step before, if there is one."""
    left_s: float | None
    """Seconds left, by the mean of the steps so far; None in the first."""

    def text(self) -> str:
        """Return a line about it.

        >>> TrainingProgress(2, 25, "tokens sampled", 96, 150, 0.31, 720.0).text()
        'step 3 of 25: 96 of 150 tokens sampled; reward 0.310; 12.0 min left'
        """
        parts = [f"step {self.step + 1} of {self.num_steps}: {self.done} of {self.total} {self.doing}"]
        parts += [] if self.reward is None else [f"reward {self.reward:.3f}"]
        parts += [] if self.left_s is None else [f"{duration_text(self.left_s)} left"]
        return "; ".join(parts)


OnProgress = Callable[[TrainingProgress], Any]


class _Reporter:
    """Reports how far a run is; called by the algorithm, and after each step."""

    def __init__(self, first: int, num_steps: int, on_progress: OnProgress | None) -> None:
        self._first, self._num_steps, self._on_progress = first, num_steps, on_progress
        self._step, self._started_at = first, time.monotonic()
        self._reward: float | None = None
        self._step_s: float | None = None

    def __call__(self, doing: str, done: int, total: int) -> None:
        if self._on_progress is not None:
            left_s = None if self._step_s is None else self._step_s * (self._num_steps - self._step)
            self._on_progress(TrainingProgress(self._step, self._num_steps, doing, done, total, self._reward, left_s))

    def finish(self, step: int, reward: float) -> None:
        """Count a step."""
        self._step, self._reward = step + 1, reward
        self._step_s = (time.monotonic() - self._started_at) / (self._step - self._first)


class Starts(NamedTuple):
    """What rollouts start from."""

    names: Sequence[str]
    play: Callable[[int, int], Rollouts]
    settings: dict[str, Any]
    """What decides the rewards; a resumed run must have the same."""


def train(
    start: str | Path,
    experience: Sequence[Experience],
    reward: MetaReward,
    path: str | Path,
    *,
    grpo: GRPOConfig | None = None,
    config: TrainingConfig | None = None,
    render: Render = chat_messages,
    evaluate: Evaluate | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Train the model at `start` (a folder or a hub name) on `experience`; return the last checkpoint.

    If `path` holds this run already, resume from its last checkpoint. The weights are then equal to those of a
    run that was never stopped: to the bit, in float32 on one CPU thread. A budget of the environment counts the
    earlier use of the run.
    """
    check_experience(experience, reward.env)
    starts = Starts(
        names=[item.id for item in experience],
        play=single_turns(
            [render(item.meta_step) for item in experience],
            lambda start, replies: reward(experience[start].meta_step, replies),
        ),
        settings={
            "experience": digest([item.model_dump_json() for item in experience]),
            "reward": reward.fingerprint,
        },
    )
    grpo, config = grpo or GRPOConfig(), config or TrainingConfig()
    with counting_replays(Path(path), reward.env):
        return _train(start, starts, Path(path), grpo, config, render, evaluate, on_progress)


def train_meta_episodes(
    start: str | Path,
    make_env: Callable[[], gymnasium.Env[Any, str]],
    path: str | Path,
    *,
    meta_episode: MetaEpisodeConfig | None = None,
    num_starts: int = 128,
    grpo: GRPOConfig | None = None,
    config: TrainingConfig | None = None,
    render: Render = chat_messages,
    evaluate: Evaluate | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Train the model at `start` on whole meta-episodes, as `train` does on single reflections.

    A start is the seed of a meta-episode; there are `num_starts`. The batches follow the policy: from the second turn
    on, they are played under the prompts that it wrote. `make_env` makes a meta-environment for each rollout of a
    step, so it must make equal ones; the budget of the first holds for all together.
    """
    config = config or TrainingConfig()
    if num_starts < 1:
        raise ConfigError(f"num_starts must be at least 1, got {num_starts}.")
    with (
        closing(
            MetaEpisodeGroups(make_env, meta_episode or MetaEpisodeConfig(), seed=config.seed, render=render)
        ) as groups,
        counting_replays(Path(path), groups.meta_env),
    ):
        settings = {"meta_episode": groups.fingerprint, "num_starts": num_starts}
        starts = Starts([f"meta-episode/{number}" for number in range(num_starts)], groups.play, settings)
        return _train(start, starts, Path(path), grpo or GRPOConfig(), config, render, evaluate, on_progress)


def _train(
    start: str | Path,
    starts: Starts,
    path: Path,
    grpo: GRPOConfig,
    config: TrainingConfig,
    render: Render,
    evaluate: Evaluate | None,
    on_progress: OnProgress | None,
) -> Path:
    settings = {
        "start": str(start),
        "render": import_path(render),
        **starts.settings,
        "grpo": grpo.model_dump(),
        "training": config.model_dump(exclude={"num_steps", "save_every", "evaluate_every"}),
    }
    _check_settings(path / "config.json", settings)
    if evaluate is not None and not config.evaluate_every:
        raise ConfigError("Expected evaluate_every of at least 1 with `evaluate`, got 0: it would never be called.")
    if config.lora_rank is not None:
        check_start_of_adapter(start, config.dtype)
    base = start if config.lora_rank is None else _without_adapter(start, path / "merged")
    if Path(base).exists():  # an adapter names its model, and must find it from any working directory
        base = Path(base).resolve()
    policy = Policy.load(base, lora_rank=config.lora_rank, dtype=config.dtype)
    saved = checkpoints(path / "checkpoints")
    reporter = _Reporter(int(saved[-1].name) if saved else 0, config.num_steps, on_progress)
    needs_reference = grpo.kl > 0 and config.lora_rank is None
    algorithm = GRPO(
        policy,
        starts.play,
        len(starts.names),
        config=grpo,
        seed=config.seed,
        # With weights of float32, as the policy's are: rounding alone would be a divergence.
        reference=Policy.load(start, dtype=config.dtype) if needs_reference else None,
        on_progress=reporter,
    )
    if not (path / "config.json").exists():  # only now: a run that could not start must not block the next attempt
        write_whole(path / "config.json", json.dumps(settings, indent=2) + "\n")
    served = Served(
        render=import_path(render), max_new_tokens=grpo.max_new_tokens, temperature=grpo.temperature, dtype=config.dtype
    )
    model = str(Path(start).resolve()) if Path(start).exists() else str(start)  # a hub name is kept as it is
    served.model_copy(update={"model": model}).write(path / "start")
    done = load_checkpoint(saved[-1], policy, algorithm.optimizer) if saved else 0
    for folder in saved:  # metagym 0.1 could be killed between a checkpoint and its settings
        if not (folder / SERVED).exists():
            served.write(folder)
    evaluations = path / "evaluations.jsonl"
    drop_from(path / "metrics.jsonl", done)
    drop_from(path / "samples.jsonl", done)
    drop_from(evaluations, done + 1)
    evaluated = [line["step"] for line in read_lines(evaluations)] if evaluations.exists() else []

    def is_due(step: int, every: int) -> bool:
        return step == config.num_steps or (every > 0 and step % every == 0)

    with tensorboard(path / "tensorboard") as write:

        def evaluate_after(step: int) -> None:
            is_wanted = config.evaluate_every > 0 and is_due(step, config.evaluate_every)
            if evaluate is not None and is_wanted and step not in evaluated:
                figures = evaluate(policy, step)
                append_lines(evaluations, [{"step": step, **figures}])
                write({f"evaluation/{name}": value for name, value in figures.items()}, step)

        evaluate_after(done)

        def save_after(step: int) -> None:
            save_checkpoint(path / "checkpoints", policy, algorithm.optimizer, step=step, also=served.write)

        for step in range(done, config.num_steps):
            try:
                updated, groups = algorithm.step(step)
                _check_rewards(step, groups)
            except InfrastructureError:  # nothing was updated: the finished steps are kept
                if step > done and not (path / "checkpoints" / f"{step:06d}").exists():
                    save_after(step)
                raise
            metrics = {**group_metrics(groups), **updated}
            append_lines(path / "samples.jsonl", _sample_lines(step, groups, starts.names))
            append_lines(path / "metrics.jsonl", [{"step": step, **metrics}])
            write(metrics, step)
            reporter.finish(step, metrics["reward"])
            logger.info("step %d: reward %.3f, kl %.3f", step, metrics["reward"], metrics["kl"])
            if is_due(step + 1, config.save_every) or is_due(step + 1, config.evaluate_every):
                save_after(step + 1)
                evaluate_after(step + 1)
    return checkpoints(path / "checkpoints")[-1]


def _without_adapter(start: str | Path, folder: Path) -> str | Path:
    """Return the model that a new adapter is trained on; if `start` is an adapter itself, its merged model in `folder`.

    A checkpoint names the model under its adapter. If that were the one under the start's, what the start had learned
    would be lost.
    """
    if not is_adapter(start):
        return start
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.part")
        Policy.load(start, frozen=True).save(part)
        part.replace(folder)
    return folder


def _check_rewards(step: int, groups: Sequence[Group]) -> None:
    """Raise InfrastructureError if no reward of the step is known: there is nothing to learn from."""
    if all(np.isnan(group.rewards).all() for group in groups):
        num = sum(len(group.samples) for group in groups)
        raise InfrastructureError(
            f"Expected a reward for at least one of the {num} replies of step {step + 1}, got nothing: in each "
            "replay episodes failed for infrastructure reasons. Check the actor's server and the environment, then "
            "resume: the step is played again."
        )


def _sample_lines(step: int, groups: Sequence[Group], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "experience": names[group.start],
            "turn": group.turn,
            "messages": messages,
            "completion": sample.text,
            "reward": float(value),
            "token_ids": sample.token_ids,
            "logprobs": sample.logprobs,
        }
        for group in groups
        for messages, sample, value in zip(group.conversations, group.samples, group.rewards, strict=True)
    ]


def _check_settings(file: Path, settings: dict[str, Any]) -> None:
    if file.exists():
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            kept.setdefault("training", kept.get("loop"))  # its name in metagym 0.1
            kept["grpo"] = GRPOConfig.model_validate(kept.get("grpo")).model_dump()  # with settings that came later
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise RunFolderError(f"Expected the settings of a training run in {file}: {error}.") from error
        names = [name for name in settings if kept.get(name) != settings[name]]
        if names:
            raise RunFolderError(
                f"Expected the settings with which the training run in {file.parent} was started, got another "
                f"{', '.join(names)}. Use the same settings, or name a new folder."
            )

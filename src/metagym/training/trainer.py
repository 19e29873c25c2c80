"""The training run: GRPO on a data set, with metrics, checkpoints, exact resume and evaluations.

RUN/config.json        the settings and the fingerprint of the experience; a resumed run must have the same
RUN/start/             names the start model; this path is a reflector, the untrained one
RUN/metrics.jsonl      one line per step; RUN/tensorboard/ has the same if tensorboard is installed
RUN/evaluations.jsonl  one line per evaluation; the first is before any training
RUN/samples.jsonl      one line per reflection; `export.py` reads them
RUN/checkpoints/       see `checkpoint.py`; the path of the newest one is the trained reflector
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError, RunFolderError
from metagym.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from metagym.training.experience import Experience, Render, chat_messages, read_lines
from metagym.training.grpo import GRPO, GRPOConfig
from metagym.training.local_reflector import Served
from metagym.training.metrics import Group, append_lines, drop_from, group_metrics, tensorboard
from metagym.training.policy import Policy
from metagym.training.reward import MetaReward
from metagym.types import Record, digest

logger = logging.getLogger(__name__)
Evaluate = Callable[[Policy, int], Mapping[str, float]]
"""Evaluates the policy after a number of steps: (policy, step) -> figures by name."""


class TrainingConfig(Record):
    """The length of a training run, its seed, and what is trained."""

    num_steps: int = 25
    seed: int = 0
    save_every: int = 5
    evaluate_every: int = 0
    """Steps between evaluations; one is before the first step, and one after the last. 0 means no evaluation."""
    lora_rank: int | None = None
    """Train a LoRA adapter of this rank; None trains all parameters."""
    dtype: str = "float32"

    def is_saved_after(self, step: int) -> bool:
        """Whether a checkpoint is written after `step` steps; always before an evaluation."""
        periods = [period for period in (self.save_every, self.evaluate_every) if period]
        return step == self.num_steps or any(step % period == 0 for period in periods)


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
) -> Path:
    """Train the model at `start` (a folder or a hub name) on `experience`; return the last checkpoint.

    If `path` holds this run already, resume from its last checkpoint. The weights are then equal to those of a
    run that was never stopped: to the bit, in float32 on one CPU thread.

    Raises:
        ConfigError: an argument is wrong, or the experience was collected in another environment.
        RunFolderError: the folder holds a training run with other settings.
    """
    path, grpo, config = Path(path), grpo or GRPOConfig(), config or TrainingConfig()
    found, wanted = {item.fingerprint for item in experience}, digest(reward.env.fingerprint)
    if found != {wanted}:
        raise ConfigError(
            f"Expected experience of this environment (fingerprint {wanted}), got {sorted(found) or 'none'}. Collect "
            "it with the environment, actor and options that the reward replays."
        )
    settings = {
        "start": str(start),
        "experience": digest([item.id + item.fingerprint + item.prompt for item in experience]),
        "reward": reward.fingerprint,
        "grpo": grpo.model_dump(),
        "training": config.model_dump(exclude={"num_steps", "save_every", "evaluate_every"}),
    }
    _check_settings(path / "config.json", settings)
    policy = Policy.load(start, lora_rank=config.lora_rank, dtype=config.dtype)
    needs_copy = grpo.kl > 0 and config.lora_rank is None
    conversations = [render(item.meta_step) for item in experience]
    algorithm = GRPO(
        policy,
        [policy.encode(messages) for messages in conversations],
        lambda row, replies: reward(experience[row].meta_step, replies),
        config=grpo,
        seed=config.seed,
        reference=Policy.load(start, dtype=config.dtype, frozen=True) if needs_copy else None,
    )
    if not (path / "config.json").exists():  # only now: a run that could not start must not block the next attempt
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    served = Served.of(render, max_new_tokens=grpo.max_new_tokens, temperature=grpo.temperature, dtype=config.dtype)
    model = str(Path(start).resolve()) if Path(start).exists() else str(start)  # a hub name is kept as it is
    served.model_copy(update={"model": model}).write(path / "start")
    saved = checkpoints(path / "checkpoints")
    done = load_checkpoint(saved[-1], policy, algorithm.optimizer) if saved else 0
    for name in ("metrics.jsonl", "samples.jsonl"):
        drop_from(path / name, done)
    with tensorboard(path / "tensorboard") as write:

        def evaluate_after(step: int) -> None:
            is_due = config.evaluate_every and (step % config.evaluate_every == 0 or step == config.num_steps)
            if evaluate is not None and is_due and step not in _evaluated_steps(path):
                figures = evaluate(policy, step)
                append_lines(path / "evaluations.jsonl", [{"step": step, **figures}])
                write({f"evaluation/{name}": value for name, value in figures.items()}, step)

        evaluate_after(done)
        for step in range(done, config.num_steps):
            updated, groups = algorithm.step(step)
            metrics = {**group_metrics(groups), **updated}
            append_lines(path / "samples.jsonl", _sample_lines(step, groups, experience, conversations))
            append_lines(path / "metrics.jsonl", [{"step": step, **metrics}])
            write(metrics, step)
            logger.info("step %d: reward %.3f, kl %.3f", step, metrics["reward"], metrics["kl"])
            if config.is_saved_after(step + 1):
                served.write(save_checkpoint(path / "checkpoints", policy, algorithm.optimizer, step=step + 1))
                evaluate_after(step + 1)
    return checkpoints(path / "checkpoints")[-1]


def _sample_lines(
    step: int, groups: Sequence[Group], experience: Sequence[Experience], conversations: Sequence[Any]
) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "experience": experience[row].id,
            "messages": conversations[row],
            "completion": sample.text,
            "reward": float(value),
            "token_ids": sample.token_ids,
            "logprobs": sample.logprobs,
        }
        for row, group, rewards in groups
        for sample, value in zip(group, rewards, strict=True)
    ]


def _evaluated_steps(path: Path) -> list[int]:
    file = path / "evaluations.jsonl"
    return [line["step"] for line in read_lines(file)] if file.exists() else []


def _check_settings(file: Path, settings: dict[str, Any]) -> None:
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        kept.setdefault("training", kept.get("loop"))  # its name in metagym 0.1
        names = [name for name in settings if kept.get(name) != settings[name]]
        if names:
            raise RunFolderError(
                f"Expected the settings with which the training run in {file.parent} was started, got another "
                f"{', '.join(names)}. Use the same settings, or name a new folder."
            )

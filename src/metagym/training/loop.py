"""The training run: GRPO over a data set, with metrics, checkpoints, exact resume and evaluation every n steps.

RUN/config.json      what was asked for, and the fingerprint; a resumed run must match it
RUN/start/           names the model that it began with: served by this path, it is the untrained reflector
RUN/metrics.jsonl    one line a step; RUN/tensorboard/ the same, where tensorboard is installed
RUN/evaluations.jsonl    one line an evaluation, the first before any training
RUN/samples.jsonl    one line a reflection: what `export.py` reads
RUN/checkpoints/     see `checkpoint.py`; the newest one is the trained reflector, served by its path
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError, RunFolderError
from metagym.seeding import digest
from metagym.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from metagym.training.data import Experience, Render, chat_messages, read_lines
from metagym.training.grpo import GRPO, GRPOConfig
from metagym.training.metrics import append_lines, drop_from, group_metrics, tensorboard
from metagym.training.policy import Policy
from metagym.training.reward import MetaReward
from metagym.training.serving import Served
from metagym.types import Record

logger = logging.getLogger(__name__)
Evaluate = Callable[[Policy, int], Mapping[str, float]]
"""Evaluates the policy after so many steps: figures by their names."""


class LoopConfig(Record):
    """How long, how often, from which seed."""

    num_steps: int = 25
    seed: int = 0
    save_every: int = 5
    evaluate_every: int = 0
    """Steps between evaluations; there is one before the first step, and one after the last. 0 means none."""
    lora_rank: int | None = None
    """Train a LoRA adapter of this rank; None trains all parameters."""
    dtype: str = "float32"

    def is_saved_after(self, step: int) -> bool:
        """Whether a checkpoint is written after so many steps. What is evaluated is saved first."""
        periods = [period for period in (self.save_every, self.evaluate_every) if period]
        return step == self.num_steps or any(step % period == 0 for period in periods)


def train(
    start: str | Path,
    experience: Sequence[Experience],
    reward: MetaReward,
    path: str | Path,
    *,
    grpo: GRPOConfig | None = None,
    loop: LoopConfig | None = None,
    render: Render = chat_messages,
    evaluate: Evaluate | None = None,
) -> Path:
    """Train the model at `start` (a folder or a hub name) on `experience`; return its last checkpoint.

    Called again with the same arguments on the same folder, it goes on from the last checkpoint, and ends
    with the same weights, to the bit on one CPU thread, as if it had not been stopped.

    Raises:
        ConfigError: an argument is wrong, or the experience was collected in another environment.
        RunFolderError: the folder holds a training run that began with something else.
    """
    path, grpo, loop = Path(path), grpo or GRPOConfig(), loop or LoopConfig()
    found, wanted = {item.fingerprint for item in experience}, digest(reward.env.fingerprint)
    if found != {wanted}:
        raise ConfigError(
            f"Expected experience of this environment (fingerprint {wanted}), got {sorted(found) or 'none'}. Collect "
            "it with the environment, actor and options that the reward replays."
        )
    asked = {
        "start": str(start),
        "experience": digest([item.id + item.fingerprint + item.prompt for item in experience]),
        "reward": reward.fingerprint,
        "grpo": grpo.model_dump(),
        "loop": loop.model_dump(exclude={"num_steps", "save_every", "evaluate_every"}),
    }
    _check_config(path / "config.json", asked)
    policy = Policy.load(start, lora_rank=loop.lora_rank, dtype=loop.dtype)
    needs_copy = grpo.kl > 0 and loop.lora_rank is None
    batches = [item.meta_step for item in experience]
    algorithm = GRPO(
        policy,
        [policy.encode(render(batch)) for batch in batches],
        lambda row, replies: reward(batches[row], replies),
        config=grpo,
        seed=loop.seed,
        reference=Policy.load(start, dtype=loop.dtype, frozen=True) if needs_copy else None,
    )
    if not (path / "config.json").exists():  # only now: what could not begin leaves no folder that refuses the next try
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
    served = Served.of(render, max_new_tokens=grpo.max_new_tokens, temperature=grpo.temperature, dtype=loop.dtype)
    where = str(Path(start).resolve()) if Path(start).exists() else str(start)  # a hub name stays what it is
    served.model_copy(update={"model": where}).write(path / "start")
    saved = checkpoints(path / "checkpoints")
    done = load_checkpoint(saved[-1], policy, algorithm.optimizer) if saved else 0
    for name in ("metrics.jsonl", "samples.jsonl"):
        drop_from(path / name, done)
    with tensorboard(path / "tensorboard") as write:

        def evaluate_after(step: int) -> None:
            is_due = loop.evaluate_every and (step % loop.evaluate_every == 0 or step == loop.num_steps)
            if evaluate is not None and is_due and step not in _evaluated(path):
                found = evaluate(policy, step)
                append_lines(path / "evaluations.jsonl", [{"step": step, **found}])
                write({f"evaluation/{name}": value for name, value in found.items()}, step)

        evaluate_after(done)
        for step in range(done, loop.num_steps):
            updated, groups = algorithm.step(step)
            metrics = {**group_metrics(groups), **updated}
            samples = [
                {
                    "step": step,
                    "experience": experience[row].id,
                    "messages": render(batches[row]),
                    "completion": sample.text,
                    "reward": float(value),
                    "token_ids": sample.token_ids,
                    "logprobs": sample.logprobs,
                }
                for row, group, rewards in groups
                for sample, value in zip(group, rewards, strict=True)
            ]
            append_lines(path / "samples.jsonl", samples)
            append_lines(path / "metrics.jsonl", [{"step": step, **metrics}])
            write(metrics, step)
            logger.info("step %d: reward %.3f, kl %.3f", step, metrics["reward"], metrics["kl"])
            if loop.is_saved_after(step + 1):
                served.write(save_checkpoint(path / "checkpoints", policy, algorithm.optimizer, step=step + 1))
                evaluate_after(step + 1)
    return checkpoints(path / "checkpoints")[-1]


def _evaluated(path: Path) -> list[int]:
    file = path / "evaluations.jsonl"
    return [line["step"] for line in read_lines(file)] if file.exists() else []


def _check_config(file: Path, asked: dict[str, Any]) -> None:
    if file.exists():
        began = json.loads(file.read_text(encoding="utf-8"))
        names = [name for name in asked if began.get(name) != asked[name]]
        if names:
            raise RunFolderError(
                f"{file.parent} holds a training run that began with another {', '.join(names)}. Name a new folder."
            )

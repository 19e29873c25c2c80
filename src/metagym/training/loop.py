"""The training run: GRPO over a data set, with metrics, checkpoints, exact resume and evaluation every n steps.

RUN/config.json      what was asked for, and the fingerprint; a resumed run must match it
RUN/metrics.jsonl    one line a step; RUN/tensorboard/ the same, where tensorboard is installed
RUN/samples.jsonl    one line a reflection: what `export.py` reads
RUN/checkpoints/     see `checkpoint.py`; the newest one is the trained reflector, served by its path
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError, RunFolderError
from metagym.seeding import digest
from metagym.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from metagym.training.data import Experience, Render, chat_messages, read_lines
from metagym.training.grpo import GRPO, GRPOConfig
from metagym.training.policy import Policy
from metagym.training.reward import MetaReward
from metagym.types import Record

logger = logging.getLogger(__name__)
Evaluate = Callable[[Policy, int], Mapping[str, float]]


class LoopConfig(Record):
    """How long, how often, from which seed."""

    num_steps: int = 25
    seed: int = 0
    save_every: int = 5
    evaluate_every: int = 0
    """Steps between evaluations; 0 means never."""
    lora_rank: int | None = None
    """Train a LoRA adapter of this rank; None trains all parameters."""
    dtype: str = "float32"


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
    reference = Policy.load(start, dtype=loop.dtype) if needs_copy else None
    batches = [item.meta_step for item in experience]
    prompts = [policy.encode(render(batch)) for batch in batches]
    algorithm = GRPO(
        policy, prompts, lambda row, replies: reward(batches[row], replies), seed=loop.seed, config=grpo,
        reference=reference,
    )  # fmt: skip
    saved = checkpoints(path / "checkpoints")
    done = load_checkpoint(saved[-1], policy, algorithm.optimizer) if saved else 0
    for name in ("metrics.jsonl", "samples.jsonl"):
        _drop_from(path / name, done)
    with _writer(path / "tensorboard") as write:
        for step in range(done, loop.num_steps):
            metrics, groups = algorithm.step(step)
            if loop.evaluate_every and evaluate is not None and (step + 1) % loop.evaluate_every == 0:
                metrics |= {f"evaluation/{name}": value for name, value in evaluate(policy, step).items()}
            samples = [
                {
                    "step": step,
                    "experience": experience[row].id,
                    "messages": render(batches[row]),
                    "completion": sample.text,
                    "reward": None if value != value else float(value),
                    "token_ids": sample.token_ids,
                    "logprobs": sample.logprobs,
                }
                for row, group, rewards in groups
                for sample, value in zip(group, rewards, strict=True)
            ]
            _append(path / "samples.jsonl", samples)
            _append(path / "metrics.jsonl", [{"step": step, **_finite(metrics)}])
            write(metrics, step)
            logger.info("step %d: reward %.3f, kl %.3f", step, metrics["reward"], metrics["kl"])
            if (step + 1) % loop.save_every == 0 or step + 1 == loop.num_steps:
                last = save_checkpoint(path / "checkpoints", policy, algorithm.optimizer, step=step + 1)
                _name_rendering(last, render)
    return checkpoints(path / "checkpoints")[-1]


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if abs(value) < float("inf") else None for name, value in metrics.items()}


def _check_config(file: Path, asked: dict[str, Any]) -> None:
    if file.exists():
        began = json.loads(file.read_text(encoding="utf-8"))
        names = [name for name in asked if began.get(name) != asked[name]]
        if names:
            raise RunFolderError(
                f"{file.parent} holds a training run that began with another {', '.join(names)}. Name a new folder."
            )
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")


def _name_rendering(checkpoint: Path, render: Render) -> None:
    """Write how meta-steps are shown to this model, so that it is served as it was trained."""
    name = f"{render.__module__}:{render.__qualname__}"
    (checkpoint / "metagym.json").write_text(json.dumps({"render": name}) + "\n", encoding="utf-8")


def _append(file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.writelines(json.dumps(line) + "\n" for line in lines)


def _drop_from(file: Path, step: int) -> None:
    """Drop the lines of steps that come again: those after the checkpoint, and a torn last one."""
    if file.exists():
        kept = [line for line in read_lines(file) if line["step"] < step]
        part = file.with_name(file.name + ".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        part.replace(file)


@contextlib.contextmanager
def _writer(folder: Path) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """Yield what writes metrics for TensorBoard; without the package, metrics.jsonl alone is kept."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own dependencies' deprecations
            from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("tensorboard is not installed: metrics are in metrics.jsonl only.")
        yield lambda metrics, step: None
        return
    writer: Any = SummaryWriter(str(folder))

    def write(metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    try:
        yield write
    finally:
        writer.close()

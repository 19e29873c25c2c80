"""Metrics of a training run: the figures of a step's groups, and the files and TensorBoard that hold them."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metagym.files import write_whole
from metagym.training.experience import read_lines
from metagym.types import Message

if TYPE_CHECKING:
    from metagym.training.policy import Sample

logger = logging.getLogger(__name__)


EQUAL = 1e-8
"""Rewards with at most this standard deviation are equal: a mean of equal scores may have a rounding error."""


class Group(NamedTuple):
    """One turn of a group of G rollouts."""

    start: int
    """The index of the experience, or of the meta-episode."""
    turn: int
    conversations: Sequence[Sequence[Message]]
    samples: Sequence[Sample]
    """The G reflections."""
    rewards: np.ndarray[Any, Any]
    """The values to compare: each reward with those of the later turns, of shape `[G]`; NaN for a missing one."""


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Return the means over a step's groups; NaN if no reward is known.

    `reward` is the mean over rollouts, `reward_spread` the standard deviation in a group's turn. `no_signal` is the
    share of turns whose known rewards are all equal, `missing_rewards` the share of candidates that failed for
    infrastructure reasons, `cut_off` the share of replies that reached the length limit. `length` is in tokens.
    """
    known = [group.rewards[~np.isnan(group.rewards)] for group in groups]
    samples = [sample for group in groups for sample in group.samples]
    return {
        "reward": mean_or_nan(np.concatenate([known[i] for i, group in enumerate(groups) if group.turn == 0])),
        "reward_spread": mean_or_nan([np.std(rewards) for rewards in known if len(rewards)]),
        "missing_rewards": 1 - sum(map(len, known)) / len(samples),
        "no_signal": mean_or_nan([not len(rewards) or np.std(rewards) <= EQUAL for rewards in known]),
        "length": mean_or_nan([len(sample.token_ids) for sample in samples]),
        "cut_off": mean_or_nan([not sample.is_finished for sample in samples]),
    }


def mean_or_nan(values: Any) -> float:
    """Return the mean as a float; NaN if there are no values."""
    return float(np.mean(values)) if len(values) else math.nan


def append_lines(file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Append JSON lines; NaN and infinite numbers are written as null."""
    with file.open("a", encoding="utf-8") as out:
        for line in lines:
            unknown = {name for name, value in line.items() if isinstance(value, float) and not math.isfinite(value)}
            out.write(json.dumps({**line, **dict.fromkeys(unknown)}) + "\n")


def drop_from(file: Path, step: int) -> None:
    """Drop the lines from step `step` on, which will be written again, and a torn last line."""
    if file.exists():
        kept = [line for line in read_lines(file) if line["step"] < step]
        write_whole(file, "".join(json.dumps(line) + "\n" for line in kept))


@contextlib.contextmanager
def tensorboard(folder: Path) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """Yield a function that writes metrics for TensorBoard; without that package it writes nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own dependencies' deprecations
            from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("tensorboard is not installed: metrics are in metrics.jsonl only.")
        yield lambda metrics, step: None
        return
    with SummaryWriter(str(folder)) as writer:

        def write(metrics: Mapping[str, float], step: int) -> None:
            for name, value in metrics.items():
                writer.add_scalar(name, value, step)

        yield write

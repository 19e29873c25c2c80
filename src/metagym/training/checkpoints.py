"""Checkpoints of a training run: complete or not there at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metagym.errors import RunFolderError
from metagym.imports import require
from metagym.training.policy import Policy

torch = require("torch", extra="train")
STATE = "state.pt"


def save_checkpoint(
    folder: str | Path,
    policy: Policy,
    optimizer: Any,
    *,
    step: int,
    keep: int = 2,
    also: Callable[[Path], object] | None = None,
) -> Path:
    """Save all that `load_checkpoint` needs to resume after `step` finished steps; keep the newest `keep` checkpoints.

    `also` writes further files into the folder that it is given.
    """
    folder = Path(folder)
    # The folder gets its name only when it is complete: after a crash while writing, the one before is the newest.
    final, part = folder / f"{step:06d}", folder / f"{step:06d}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    policy.save(part)
    if also is not None:
        also(part)
    trained = {name: value.detach().cpu() for name, value in policy.trainable().items()}
    with (part / STATE).open("wb") as file:
        torch.save({"step": step, "trained": trained, "optimizer": optimizer.state_dict()}, file)
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    part.replace(final)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: str | Path) -> list[Path]:
    """Return the complete checkpoints, the oldest first."""
    found = Path(folder).glob("*/" + STATE)
    return sorted(path.parent for path in found if path.parent.name.isdecimal())


def load_checkpoint(path: str | Path, policy: Policy, optimizer: Any) -> int:
    """Load a checkpoint's parameters and optimizer state; return the number of finished steps."""
    state = torch.load(Path(path) / STATE, map_location="cpu", weights_only=True)
    parameters, saved = policy.trainable(), state["trained"]
    if {name: value.shape for name, value in parameters.items()} != {name: saved[name].shape for name in saved}:
        raise RunFolderError(
            f"Expected a checkpoint of this model at {path}, got other parameters. Resume with the start model."
        )
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(saved[name])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])

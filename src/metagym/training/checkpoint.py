"""Checkpoints: everything that the next step depends on, so that a killed training goes on to the same bits.

    RUN/checkpoints/000020/          the model (or adapter) and tokenizer, as any library loads them
    RUN/checkpoints/000020/state.pt  step, trained parameters, optimizer

No generator is stored: a step's chance follows from the seed and the step's number alone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from metagym.errors import RunFolderError
from metagym.imports import require
from metagym.training.policy import Policy

torch = require("torch", extra="train")
STATE = "state.pt"


def save_checkpoint(folder: str | Path, policy: Policy, optimizer: Any, *, step: int, keep: int = 2) -> Path:
    """Save what `load_checkpoint` needs to go on after `step` finished steps; keep the newest `keep` checkpoints.

    It appears under its name only when it is whole: a crash while writing leaves the one before.
    """
    folder = Path(folder)
    final, part = folder / f"{step:06d}", folder / f"{step:06d}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    policy.save(part)
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
    """Return the whole checkpoints, the oldest first."""
    found = Path(folder).glob("*/" + STATE)
    return sorted(path.parent for path in found if path.parent.name.isdecimal())


def load_checkpoint(path: str | Path, policy: Policy, optimizer: Any) -> int:
    """Put a checkpoint's parameters and optimizer state in place; return how many steps were finished.

    Raises:
        RunFolderError: it belongs to another model, or to other trained parameters.
    """
    state = torch.load(Path(path) / STATE, map_location="cpu", weights_only=True)
    here = policy.trainable()
    if {name: value.shape for name, value in here.items()} != {
        name: value.shape for name, value in state["trained"].items()
    }:
        raise RunFolderError(f"{path} holds other parameters than the model's. Resume with the model it began with.")
    with torch.no_grad():
        for name, value in here.items():
            value.copy_(state["trained"][name])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])

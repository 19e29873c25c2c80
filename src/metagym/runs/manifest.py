"""A run's manifest: what was asked for, and both fingerprints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from metagym.errors import RunFolderError
from metagym.types import SCHEMA_VERSION, Record

MANIFEST = "manifest.json"


class Manifest(Record):
    """What was asked for: enough to run it again."""

    schema_version: Literal[1] = SCHEMA_VERSION
    env_id: str
    env_options: dict[str, Any] = {}
    """Keyword arguments of `gym.make`, the actor's spec among them."""
    reflector: Any
    """The reflector's spec: a name, an import path, or a mapping."""
    seed: int
    num_steps: int
    first_prompt: str | None = None
    measurement: dict[str, Any] = {}
    """The measurement fingerprint: must match before two runs are compared."""
    arm: Any = None
    """The arm's fingerprint: the reflector, which is what is compared."""
    scripted: bool = False
    """Whether a scripted stand-in plays or reflects."""
    evaluation: dict[str, Any] | None = None
    """The protocol, where the run is an evaluation of many meta-episodes; None where it is one meta-episode."""


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of the run folder at `path`.

    Raises:
        RunFolderError: there is none, or it is of another schema.
    """
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RunFolderError(
            f"Expected a run folder (one with {MANIFEST} in it) at {path}. `metagym runs FOLDER` lists what there is."
        ) from error
    except OSError as error:
        raise RunFolderError(f"Expected a run folder (one with {MANIFEST} in it) at {path}: {error}.") from error
    except ValueError as error:
        raise RunFolderError(f"{path / MANIFEST} is broken: {error}") from error
    try:
        version = json.loads(text).get("schema_version")
        if version != SCHEMA_VERSION:
            raise RunFolderError(
                f"{path} has schema version {version!r}, this metagym reads {SCHEMA_VERSION}. Install the one that "
                "wrote it."
            )
        return Manifest.model_validate_json(text)
    except (ValidationError, ValueError, AttributeError) as error:
        raise RunFolderError(f"{path / MANIFEST} is broken: {error}") from error

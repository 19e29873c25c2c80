"""Experience: (prompt, trajectories, task ids) from ICT loops, on disk as JSONL and Parquet. It knows no torch.

DATA/loops/0007/        a run folder a loop, as `metagym run` writes them: what is stopped is resumed there
DATA/experience.jsonl   one line a meta-step, written when all loops are finished
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium
from pydantic import ValidationError

from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.extensions import extension_of
from metagym.files import whole_lines, write_whole
from metagym.imports import require
from metagym.optimizers.loop import optimize
from metagym.reflectors import ChatReflector, ReflectorSpec, as_reflector
from metagym.runs import MANIFEST, Manifest, RunFolder
from metagym.seeding import derive_seed, describe, digest
from metagym.types import SCHEMA_VERSION, Message, MetaStep, Record

EXPERIENCE = "experience.jsonl"
Render = Callable[[MetaStep], list[Message]]
"""Shows a meta-step to a reflector: the conversation that asks for a reflection on it."""


class Experience(Record):
    """One tuple to train on: a prompt and what was played under it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str
    """`loop/meta-step`, unique in the data set."""
    meta_step: MetaStep
    fingerprint: str
    """Digest of the measurement fingerprint; equal in all of a data set, or it could not be replayed."""

    @property
    def prompt(self) -> str:
        """The prompt that was played under."""
        return self.meta_step.prompt

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The batch, in order."""
        return tuple(trajectory.task.id for trajectory in self.meta_step.trajectories)


def collect(
    env: gymnasium.Env[Any, Any],
    reflector: ReflectorSpec,
    path: str | Path,
    *,
    num_loops: int = 128,
    num_steps: int = 4,
    seed: int = 0,
    on_loop: Callable[[int], Any] | None = None,
) -> list[Experience]:
    """Run `num_loops` meta-episodes of `num_steps` meta-steps with the reflector, and write their experience.

    Called again on the same folder it goes on where it was stopped, to the episode. The defaults are the
    paper's 128 x 4 (second-hand). `env` may be wrapped (`TimeLimit`), but must be a `MetaEnv` inside.

    Raises:
        RunFolderError: the folder holds loops of another environment, actor or reflector.
        InfrastructureError: a meta-step failed; what was played is kept, and calling again goes on.
    """
    meta_env = env.unwrapped
    if not isinstance(meta_env, MetaEnv):
        raise ConfigError(f"collect expects a MetaEnv, got {type(meta_env).__name__}.")
    if num_loops < 1:
        raise ConfigError(f"num_loops must be at least 1, got {num_loops}.")
    path, policy = Path(path), as_reflector(reflector)
    histories = []
    for loop in range(num_loops):
        loop_seed = derive_seed("collect", seed, loop)
        manifest = Manifest(
            env_id=env.spec.id
            if env.spec is not None
            else f"{type(meta_env).__module__}:{type(meta_env).__qualname__}",
            reflector=None,
            seed=loop_seed,
            num_steps=num_steps,
            measurement=meta_env.fingerprint,
            arm=describe(policy),
            scripted=extension_of(meta_env.actor).scripted or extension_of(policy).scripted,
        )
        with _loop_folder(path / "loops" / f"{loop:04d}", manifest) as run:
            before = meta_env.record_to(run)
            try:
                histories.append(optimize(env, policy, num_steps, seed=loop_seed, log=run).history)
            finally:
                meta_env.record_to(before)  # what is played later, to reward candidates, is no part of this loop
        if on_loop is not None:
            on_loop(loop)
    experience = to_experience(histories, fingerprint=digest(meta_env.fingerprint))
    write_jsonl(experience, path / EXPERIENCE)
    return experience


def _loop_folder(path: Path, manifest: Manifest) -> RunFolder:
    if not (path / MANIFEST).exists():
        return RunFolder.create(path, manifest)
    run = RunFolder.open(path)
    run.check_fingerprints(manifest.measurement, manifest.arm)
    if (run.manifest.seed, run.manifest.num_steps) != (manifest.seed, manifest.num_steps):
        raise ConfigError(f"{path} holds a loop of another seed or length. Collect into a new folder.")
    return run


def to_experience(histories: Iterable[Sequence[MetaStep]], *, fingerprint: str) -> list[Experience]:
    """Return the meta-steps of some loops as experience; those that the apparatus spoilt are left out."""
    return [
        Experience(id=f"{loop:04d}/{meta_step.index}", meta_step=meta_step, fingerprint=fingerprint)
        for loop, history in enumerate(histories)
        for meta_step in history
        if meta_step.trajectories and not meta_step.num_failed
    ]


def write_jsonl(records: Iterable[Record], path: str | Path) -> None:
    """Write one record a line, all or nothing: a crash leaves no half file."""
    write_whole(Path(path), "".join(record.model_dump_json() + "\n" for record in records))


def read_experience(path: str | Path, *, fingerprint: str | None = None) -> list[Experience]:
    """Read a data set: a JSONL or Parquet file, or the folder that `collect` wrote.

    Raises:
        ConfigError: there is none, a line is broken, or the fingerprint is not `fingerprint`, or not the
            same throughout.
    """
    path = Path(path)
    file = path / EXPERIENCE if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"Expected experience at {file}, found none. Make it: metagym train collect.")
    try:
        if file.suffix == ".parquet":
            table = require("pyarrow.parquet", extra="train").read_table(file)
            lines = table.column("record").to_pylist()
        else:
            lines = file.read_text(encoding="utf-8").splitlines()
        experience = [Experience.model_validate_json(line) for line in lines]
    except (ValidationError, KeyError) as error:
        raise ConfigError(f"{file} holds no experience: {str(error).splitlines()[0]}. Collect it again.") from error
    if not experience:
        raise ConfigError(f"{file} holds no experience: it is empty. Collect more loops.")
    found = {item.fingerprint for item in experience}
    if len(found) > 1 or fingerprint not in (None, *found):
        raise ConfigError(
            f"Expected experience with the fingerprint {fingerprint or 'of one environment'}, got {sorted(found)} in "
            f"{file}. The environment, its actor or its options differ: collect again with those to be trained on."
        )
    return experience


def write_experience_parquet(experience: Sequence[Experience], path: str | Path) -> None:
    """Write a data set as Parquet: the columns `id`, `prompt`, `task_ids`, `reward`, `fingerprint`, and `record`.

    `record` is the whole experience as JSON, so that nothing is lost. `datasets.load_dataset("parquet",
    data_files=...)` reads it.
    """
    pyarrow, parquet = require("pyarrow", extra="train"), require("pyarrow.parquet", extra="train")
    parquet.write_table(pyarrow.Table.from_pylist(to_rows(experience)), str(path))


def to_rows(experience: Sequence[Experience]) -> list[dict[str, Any]]:
    """Return the data set as plain rows; `datasets.Dataset.from_list(rows)` makes the Hugging Face view."""
    return [
        {
            "id": item.id,
            "prompt": item.prompt,
            "task_ids": list(item.task_ids),
            "reward": item.meta_step.reward,
            "fingerprint": item.fingerprint,
            "record": item.model_dump_json(),
        }
        for item in experience
    ]


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a file; a torn last line, left by a crash, is dropped."""
    return [json.loads(line) for _, line in whole_lines(Path(path))]


def chat_messages(meta_step: MetaStep) -> list[Message]:
    """Return a meta-step as `ChatReflector` shows it to a model: what is trained is what is served."""
    no_model: Any = None  # none is called
    return ChatReflector(no_model).messages(meta_step)

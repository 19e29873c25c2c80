"""Experience, the data to train on: collect it by ICT loops, write and read it as JSON lines or Parquet. No torch.

DATA/loops/0007/        one run folder per loop, as `metagym run` writes them; a stopped collection resumes there
DATA/experience.jsonl   one line per meta-step, written after the last loop
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium

from metagym.env import MetaEnv
from metagym.errors import ConfigError, RunFolderError
from metagym.files import whole_lines, write_whole
from metagym.imports import require
from metagym.optimizers.meta_loop import optimize
from metagym.optional_attributes import describe, extension_of, import_path
from metagym.reflectors import ChatReflector, ReflectorSpec, as_reflector
from metagym.runs import MANIFEST, Manifest, RunFolder
from metagym.runs.earlier_use import keeping_model_calls, load_usage
from metagym.types import SCHEMA_VERSION, Message, MetaStep, Record, Text, derive_seed, digest

EXPERIENCE = "experience.jsonl"
Render = Callable[[MetaStep], list[Message]]
"""Returns the conversation that asks a reflector for a reflection on a meta-step."""


class Experience(Record):
    """One tuple to train on: a prompt, and the trajectories that were played under it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    id: Text
    """`loop/meta-step`, unique in the data set."""
    meta_step: MetaStep
    fingerprint: Text
    """Digest of the measurement fingerprint. A data set has only one: the batches could not be replayed otherwise."""

    @property
    def prompt(self) -> str:
        """The prompt of the meta-step."""
        return self.meta_step.prompt

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The tasks of the batch, in order."""
        return tuple(trajectory.task.id for trajectory in self.meta_step.trajectories)


def collect(
    env: gymnasium.Env[Any, Any],
    reflector: ReflectorSpec,
    path: str | Path,
    *,
    num_loops: int = 128,
    num_steps: int = 4,
    seed: int = 0,
) -> list[Experience]:
    """Run `num_loops` meta-episodes of `num_steps` meta-steps with the reflector, and write their experience.

    If the folder holds a stopped collection, resume it at the episode at which it was stopped. The defaults are
    the paper's 128 x 4 (second-hand). `env` may be wrapped (`TimeLimit`), but must be a `MetaEnv` inside.

    Raises:
        InfrastructureError: a meta-step failed. Its finished episodes are kept; call again to resume.
    """
    meta_env = env.unwrapped
    if not isinstance(meta_env, MetaEnv):
        raise ConfigError(f"collect expects a MetaEnv, got {type(meta_env).__name__}. Make one: gym.make(ID).")
    if num_loops < 1:
        raise ConfigError(f"num_loops must be at least 1, got {num_loops}.")
    path, policy = Path(path), as_reflector(reflector)
    histories = []
    load_usage(path, meta_env.ledger)
    for loop in range(num_loops):
        loop_seed = derive_seed("collect", seed, loop)
        manifest = Manifest(
            env_id=import_path(meta_env) if env.spec is None else env.spec.id,
            reflector=None,
            seed=loop_seed,
            num_steps=num_steps,
            measurement=meta_env.fingerprint,
            arm=describe(policy),
            scripted=extension_of(meta_env.actor).scripted or extension_of(policy).scripted,
        )
        loop_folder = _loop_folder(path / "loops" / f"{loop:04d}", manifest)
        with loop_folder as run, keeping_model_calls(run.path, meta_env.ledger):
            before = meta_env.record_to(run)
            try:
                histories.append(optimize(env, policy, num_steps, seed=loop_seed, log=run).history)
            finally:
                meta_env.record_to(before)  # later replays, such as those for rewards, are not part of this loop
    experience = to_experience(histories, fingerprint=digest(meta_env.fingerprint))
    write_jsonl(experience, path / EXPERIENCE)
    return experience


def _loop_folder(path: Path, manifest: Manifest) -> RunFolder:
    if not (path / MANIFEST).exists():
        return RunFolder.create(path, manifest)
    run = RunFolder.open(path)
    run.check_fingerprints(manifest.measurement, manifest.arm)
    if (run.manifest.seed, run.manifest.num_steps) != (manifest.seed, manifest.num_steps):
        raise ConfigError(
            f"Expected a loop with seed {manifest.seed} and {manifest.num_steps} steps in {path}, got another seed or "
            "length. Collect into a new folder."
        )
    return run


def to_experience(histories: Iterable[Sequence[MetaStep]], *, fingerprint: str) -> list[Experience]:
    """Return the meta-steps of some loops as experience, without those in which an episode failed."""
    return [
        Experience(id=f"{loop:04d}/{meta_step.index}", meta_step=meta_step, fingerprint=fingerprint)
        for loop, history in enumerate(histories)
        for meta_step in history
        if meta_step.trajectories and not meta_step.num_failed
    ]


def write_jsonl(records: Iterable[Record], path: str | Path) -> None:
    """Write one record per line; a crash leaves no half-written file."""
    write_whole(Path(path), "".join(record.model_dump_json() + "\n" for record in records))


def read_experience(path: str | Path, *, fingerprint: str | None = None) -> list[Experience]:
    """Read a data set: a JSONL or Parquet file, or the folder that `collect` wrote. Check its `fingerprint`."""
    file = Path(path)
    file = file / EXPERIENCE if file.is_dir() else file
    if not file.is_file():
        raise ConfigError(f"Expected experience at {file}, found no file. Make it: metagym train collect.")
    try:
        if file.suffix == ".parquet":
            lines = require("pyarrow.parquet", extra="train").read_table(file).column("record").to_pylist()
        else:
            lines = file.read_bytes().splitlines()
        experience = [Experience.model_validate_json(line) for line in lines]
    except (ValueError, KeyError, OSError) as error:  # of pydantic and of pyarrow, too
        raise ConfigError(
            f"Expected experience in {file}, got a broken line: {str(error).splitlines()[0]}. Collect it again."
        ) from error
    if not experience:
        raise ConfigError(f"Expected experience in {file}, got an empty file. Collect more loops.")
    found = {item.fingerprint for item in experience}
    if len(found) > 1 or fingerprint not in (None, *found):
        raise ConfigError(
            f"Expected experience with the fingerprint {fingerprint or 'of one environment'}, got {sorted(found)} in "
            f"{file}. The environment, its actor or its options differ: collect again with those that you train on."
        )
    return experience


def check_experience(experience: Iterable[Experience], env: MetaEnv) -> None:
    """Check that the experience was collected with this environment, actor and options.

    Raises:
        ConfigError: it was not, so that its batches cannot be replayed.
    """
    check_fingerprints({item.fingerprint for item in experience}, env)


def check_fingerprints(found: Collection[str], env: MetaEnv) -> None:
    """Check the fingerprints of experience; see `check_experience`."""
    if set(found) != {wanted := digest(env.fingerprint)}:
        raise ConfigError(
            f"Expected experience of this environment (fingerprint {wanted}), got {sorted(found) or 'no fingerprint'}. "
            "Collect it with the environment, actor and options that the reward replays."
        )


def write_rows(rows: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Write plain rows as a Parquet file. `datasets.load_dataset("parquet", data_files=...)` reads it."""
    table = require("pyarrow", extra="train").Table.from_pylist(rows)
    require("pyarrow.parquet", extra="train").write_table(table, str(path))


def to_rows(experience: Sequence[Experience]) -> list[dict[str, Any]]:
    """Return the data set as plain rows for `write_rows` or `datasets.Dataset.from_list`; `record` is all, as JSON."""
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
    try:
        return [json.loads(line) for _, line in whole_lines(Path(path))]
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"Expected lines of JSON in {path}: {error}.") from error


def chat_messages(meta_step: MetaStep) -> list[Message]:
    """Return the conversation that `ChatReflector` sends for a meta-step, so that training and use are the same."""
    no_model: Any = None  # it is not called
    return ChatReflector(no_model).messages(meta_step)

"""The best constant prompt: one prompt, tuned on the meta-train families, that gains without any reflection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from metagym.env import MetaEnv, meta_env_of
from metagym.errors import ConfigError
from metagym.evaluation import evaluate
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.controls import check_train_families
from metagym.evaluation.protocol import prepare_evaluation
from metagym.evaluation.store import check_unchanged
from metagym.files import write_whole
from metagym.optional_attributes import describe, without_addresses
from metagym.reflectors import Reflector, ReflectorSpec
from metagym.reflectors.protocol import check_replayed
from metagym.runs import MANIFEST, TUNED, RunFolder, read_manifest, read_record
from metagym.runs.earlier_use import keeping_model_calls
from metagym.types import Record, Text, Texts, derive_seed


class TunedPrompt(Record):
    """The best constant prompt, and the candidates that it was chosen from."""

    prompt: Text
    train_families: Texts
    scores: tuple[tuple[Text, float], ...]
    """Each candidate with its mean score over the meta-train families, `sp_0` first."""


def tune_constant_prompt(
    env: gymnasium.Env[Any, Any],
    reflector: ReflectorSpec | Mapping[str, Any] | str,
    *,
    train_families: Sequence[str],
    config: EvaluationConfig,
    path: str | Path | None = None,
) -> TunedPrompt:
    """Return the prompt with the best average score over the meta-train families, which must not be evaluated.

    The candidates are `sp_0` and the prompts that runs of the reflector on these families chose (one seed each). All
    are scored on validation tasks of every family. With `path` everything is kept there.

    Raises:
        ConfigError: the meta-train families are missing, or some of them are evaluated.
        RunFolderError: the folder holds the tuning of another reflector or protocol.
    """
    meta_env = meta_env_of(env)
    families, train_families = (
        meta_env.task_set.expand_families(named) if named else () for named in (config.families, train_families)
    )
    check_train_families(families, train_families)
    protocol = tuning_config(config, train_families)
    report = evaluate(env, reflector, config=protocol, arm="tuning", kind="tuning", path=path)
    file = None if path is None else Path(path) / TUNED
    if file is not None and file.exists():  # of this reflector and protocol: the evaluation has compared fingerprints
        return read_record(file, TunedPrompt)
    first = meta_env.default_prompt if config.first_prompt is None else config.first_prompt
    candidates = list(dict.fromkeys([first, *(item.chosen_prompt for item in report.prompts)]))
    scores = np.zeros((len(train_families), len(candidates)))
    with _recording(meta_env, path):
        for row, family in enumerate(train_families):
            rng = np.random.default_rng(derive_seed("constant prompt", config.task_seed, family))
            tasks = meta_env.task_set.draw(config.num_validation, rng=rng, families=[family], split="validation")
            played = meta_env.replay(candidates, [task.id for task in tasks])
            check_replayed(played)
            scores[row] = [meta_step.reward or 0.0 for meta_step in played]
    means = scores.mean(axis=0)
    tuned = TunedPrompt(
        prompt=candidates[int(np.argmax(means))],
        train_families=tuple(train_families),
        scores=tuple(zip(candidates, means.tolist(), strict=True)),
    )
    if file is not None:
        write_whole(file, tuned.model_dump_json(indent=2) + "\n")
    return tuned


def recorded_constant_prompt(
    env: gymnasium.Env[Any, Any],
    reflector: Reflector,
    *,
    train_families: Sequence[str],
    config: EvaluationConfig,
    path: Path,
) -> str | None:
    """Return the prompt that was tuned in the folder, or None if the tuning is not finished. Nothing is played.

    Raises:
        RunFolderError: the folder holds the tuning of another reflector or protocol.
    """
    about: dict[str, Any] = {"arm": "tuning", "kind": "tuning", "learn_from": None, "optimizer": None}
    prepared = prepare_evaluation(env, reflector, tuning_config(config, train_families), **about)
    with RunFolder.open(path) as run:
        check_unchanged(run, prepared.manifest)
    return read_record(path / TUNED, TunedPrompt).prompt if (path / TUNED).exists() else None


def tuning_folder(folder: Path, method: str, reflector: Reflector) -> Path:
    """Return the folder in `folder` for the tuning around a method, which is named as a folder."""
    first = folder / "tuning"  # folders of 0.1 have one for all methods
    own = without_addresses(describe(reflector))
    if (first / MANIFEST).exists() and without_addresses(read_manifest(first).reflector) == own:
        return first
    return folder / f"tuning-{method}"


@contextlib.contextmanager
def _recording(env: MetaEnv, path: str | Path | None) -> Iterator[None]:
    """Keep episodes and model calls in the run folder of the tuning, so that nothing is paid for twice."""
    if path is None:
        yield
        return
    with RunFolder.open(path, writing=True) as run, keeping_model_calls(run.path, env.ledger):
        before = env.record_to(run)
        try:
            yield
            run.finish()
        finally:
            env.record_to(before)


def tuning_config(config: EvaluationConfig, train_families: Sequence[str]) -> EvaluationConfig:
    """Return the protocol that finds the candidates: one seed a meta-train family, and the smallest test."""
    if not config.num_validation:
        raise ConfigError(
            "Expected validation tasks to choose a constant prompt on, got num_validation=0. Raise it, or leave this "
            "control out."
        )
    update = {"families": tuple(train_families), "num_seeds": 1, "num_test": 1, "replay": False}
    return config.model_copy(update=update)

"""More seeds for a finished evaluation: the first ones stay as they are, and each look is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium

from metagym.errors import ConfigError, RunFolderError
from metagym.evaluation.campaign import Evaluated, OnArm, OnEpisode, check_begun_arms, run_campaign
from metagym.evaluation.campaign_folder import CAMPAIGN, Campaign, arm_name, folder_name, folder_of, read_reflector
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.preset import with_sampling
from metagym.evaluation.protocol import evaluate, prepare_evaluation
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.store import check_unchanged, looks_of, record_extension, report_of
from metagym.optimizers import Optimizer
from metagym.reflectors import ReflectorSpec
from metagym.runs import MANIFEST, RunFolder, read_record


def extend(
    path: str | Path,
    num_seeds: int,
    *,
    env: gymnasium.Env[Any, Any],
    reflector: ReflectorSpec | Mapping[str, Any] | str,
    optimizer: Optimizer | None = None,
) -> EvaluationReport:
    """Add seeds to the finished evaluation in a run folder, up to `num_seeds` of each family, and return the report.

    Give the environment and the reflector that the evaluation was made with: fingerprints are compared. No record of
    the first seeds changes. An evaluation that began with `num_seeds` has the same figures, and one look less.

    Raises:
        RunFolderError: the evaluation is not finished, or already has more seeds.
    """
    with RunFolder.open(path) as run:
        _check(run, num_seeds)
        begun: dict[str, Any] = dict(run.manifest.evaluation or {})
        about: dict[str, Any] = {name: begun[name] for name in ("arm", "kind", "learn_from")}
        about["config"] = EvaluationConfig.model_validate({**begun["config"], "num_seeds": num_seeds})
        prepared = prepare_evaluation(env, reflector, **about, optimizer=optimizer)
        check_unchanged(run, prepared.manifest, adds_seeds=True)
    record_extension(path, num_seeds)
    return evaluate(env, prepared.reflector, **about, path=path, optimizer=optimizer)


def extend_campaign(
    path: str | Path,
    num_seeds: int,
    *,
    budget: Mapping[str, Any] | None = None,
    on_arm: OnArm | None = None,
    on_episode: OnEpisode | None = None,
) -> list[Evaluated]:
    """Add seeds to every arm in the folder of `metagym evaluate`, and compare the arms again.

    `budget` takes the place of the recorded one; it counts the earlier usage. The same call resumes an interrupted one.
    """
    if not (Path(path) / CAMPAIGN).exists():
        raise ConfigError(
            f"Expected the folder of a `metagym evaluate` (one with {CAMPAIGN} in it), got {path}. Streams and arenas "
            "cannot be extended; for an evaluation that was made in Python: metagym.evaluation.extension.extend."
        )
    campaign = read_record(Path(path) / CAMPAIGN, Campaign)
    preset = campaign.preset.model_copy(update={"num_seeds": num_seeds})
    actor = with_sampling(campaign.actor, preset.sampling)
    spec = with_sampling(read_reflector(campaign.reflector), preset.reflector_sampling)
    arms = []
    for environment, config in preset.configs():  # all of them, before the first one is changed
        folder = folder_of(path, environment, config)
        for name in (arm_name(spec), *campaign.controls):
            arms.append(folder / folder_name(name))
            if not (arms[-1] / MANIFEST).exists():
                raise RunFolderError(
                    f"Expected every arm of the campaign to be finished; {name!r} has not begun in {folder}. Finish it "
                    "first: give the command again that began it."
                )
            with RunFolder.open(arms[-1]) as run:
                if name == arm_name(spec) or looks_of(run) != (num_seeds,):  # a control may have begun with them
                    _check(run, num_seeds)
        check_begun_arms(spec, environment, config, actor, campaign.controls, folder, adds_seeds=True)
    for arm in arms:
        record_extension(arm, num_seeds)
    return run_campaign(
        preset,
        actor=campaign.actor,
        reflector=campaign.reflector,
        path=path,
        controls=campaign.controls,
        budget=campaign.budget if budget is None else budget,
        on_arm=on_arm,
        on_episode=on_episode,
    )


def _check(run: RunFolder, num_seeds: int) -> None:
    if run.manifest.kind != "evaluation":
        raise RunFolderError(f"Expected an evaluation by the ICT protocol in {run.path}, got a {run.manifest.kind}.")
    looks = looks_of(run)
    if num_seeds < looks[-1] or looks == (num_seeds,):
        raise RunFolderError(f"Expected more seeds than the {looks[-1]} that {run.path} has, got {num_seeds}.")
    report = report_of(run)
    is_begun = looks[-1] == num_seeds
    wanted = len(report.config.families) * looks[-1]
    if not is_begun and len(report.prompts) < wanted:
        remedy = "give the command again that began it"
        if len(looks) > 1:
            remedy = f"extend it to {looks[-1]} seeds (--seeds {looks[-1]})"
        raise RunFolderError(
            f"{run.path} is not finished: {len(report.prompts)} of {wanted} meta-episodes have test scores. Finish it "
            f"first: {remedy}."
        )

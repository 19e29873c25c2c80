"""More seeds for a finished evaluation: the first ones stay as they are, and each look is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium

from metagym.errors import ConfigError, RunFolderError
from metagym.evaluation.campaign import CAMPAIGN, Campaign, Evaluated, OnArm, OnEpisode, check_campaign, run_campaign
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.controls import CONTROLS
from metagym.evaluation.protocol import Prepared, evaluate, prepare_evaluation
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.store import check_unchanged, looks_of, report_of
from metagym.optimizers import Optimizer
from metagym.reflectors import ReflectorSpec
from metagym.runs import MANIFEST, AddedSeeds, RunFolder, read_manifest, read_record


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
    arms = [file.parent for file in sorted(Path(path).glob(f"*/*/{MANIFEST}"))]
    arms = [arm for arm in arms if (read_manifest(arm).evaluation or {}).get("kind") != "tuning"]
    for arm in arms:  # all of them, before the first one is changed
        with RunFolder.open(arm) as run:
            _check(run, num_seeds)
    # A later call may have added controls, which the campaign's own file does not know.
    played = {(read_manifest(arm).evaluation or {}).get("arm") for arm in arms}
    controls = tuple(dict.fromkeys([*campaign.controls, *(name for name in CONTROLS if name in played)]))
    preset = campaign.preset.model_copy(update={"num_seeds": num_seeds})
    campaign = campaign.model_copy(update={"preset": preset, "controls": controls})

    def check(arm: Path, prepared: Prepared) -> None:
        with RunFolder.open(arm) as run:
            check_unchanged(run, prepared.manifest, adds_seeds=True)

    check_campaign(campaign, path, check)
    for arm in arms:
        record_extension(arm, num_seeds)
    return run_campaign(
        preset,
        actor=campaign.actor,
        reflector=campaign.reflector,
        path=path,
        controls=controls,
        budget=campaign.budget if budget is None else budget,
        on_arm=on_arm,
        on_episode=on_episode,
    )


def record_extension(path: str | Path, num_seeds: int) -> None:
    """Record in the run folder that its evaluation has `num_seeds` seeds from now on; a second call does nothing."""
    with RunFolder.open(path, writing=True) as run:
        for look in (*looks_of(run)[1:], num_seeds):  # with a look whose record was lost
            if run.get(AddedSeeds, look) is None:
                run.put(look, AddedSeeds(num_seeds=look))


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
        raise RunFolderError(
            f"{run.path} is not finished: {len(report.prompts)} of {wanted} meta-episodes have test scores. Finish it "
            "first: give the command again that began it."
        )

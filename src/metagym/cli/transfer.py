"""`metagym evaluate --train-on A --test-on B`: prompts learned on one world, scored on another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metagym.errors import ConfigError

if TYPE_CHECKING:
    from metagym.evaluation.campaign import Evaluated
    from metagym.evaluation.planned_use import PlannedUse
    from metagym.evaluation.preset import Preset, PresetEnvironment
    from metagym.evaluation.transfer import WorldTransfer

_TARGET = re.compile(r"(.+?-v\d+)(?::(.+))?")


def other_world(text: str, protocol: Preset) -> PresetEnvironment:
    """Return the environment that `--test-on` names: ENV or ENV:FAMILY,FAMILY,..."""
    from metagym.evaluation.preset import preset_for

    if protocol.protocol == "stream":
        raise ConfigError("--test-on expects a protocol of evaluations, got a stream. Name another preset.")
    match = _TARGET.fullmatch(text)
    name, families = match.groups() if match else (text, None)
    (world,) = preset_for(name, families=families.split(",") if families else None).environments
    return world.model_copy(update={"options": {"families": list(world.families)}})


def plan_transfer(planned: Sequence[PlannedUse], world: PresetEnvironment, protocol: Preset) -> list[PlannedUse]:
    """Return the plan for the other world, for each evaluation: each prompt of each arm, and `sp_0`."""
    num_families = len(world.families)
    return [
        item.model_copy(
            update={
                "environment": world.id,
                "num_families": num_families,
                "num_episodes": 2
                * item.num_arms
                * item.num_families
                * item.num_seeds
                * num_families
                * protocol.num_test,
                "num_reflections": 0,
            }
        )
        for item in planned
    ]


def check_tasks_there(world: PresetEnvironment, protocol: Preset) -> None:
    """Draw the tasks of the other world as they will be drawn, and play nothing."""
    from metagym.env import meta_env_of
    from metagym.evaluation.transfer import draw_test_tasks
    from metagym.registration import make

    with make(world.id, actor="random", **world.options) as env:
        draw_test_tasks(meta_env_of(env), num_test=protocol.num_test, task_seed=protocol.task_seed)


def score_there(
    evaluated: Evaluated, world: PresetEnvironment, protocol: Preset, actor: Any, budget: Mapping[str, Any]
) -> WorldTransfer:
    """Score the arms of an evaluation in the other world; the scores of an earlier call are read from its folder."""
    from metagym.evaluation.campaign import opened
    from metagym.evaluation.transfer import WorldTransfer, transfer_to
    from metagym.files import write_whole
    from metagym.runs.earlier_use import keeping_model_calls, load_usage
    from metagym.types import digest

    numbers = {"num_test": protocol.num_test, "task_seed": protocol.task_seed}
    reports = [report.model_dump(mode="json") for report in evaluated.reports]
    name = f"transfer-{digest([world.model_dump(mode='json'), actor, numbers, reports])}"
    file, folder = evaluated.folder / f"{name}.json", evaluated.folder / name
    if file.exists():
        return WorldTransfer.model_validate_json(file.read_bytes())
    with opened(world, 1, actor, budget=budget) as (env, meta_env):
        load_usage(evaluated.folder, meta_env.ledger)
        folder.mkdir(exist_ok=True)
        with keeping_model_calls(folder, meta_env.ledger):
            found = transfer_to(evaluated.reports, env, **numbers)
    write_whole(file, found.model_dump_json(indent=2) + "\n")
    return found

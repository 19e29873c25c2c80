"""Check a log against itself: its meta-steps and measurements follow from its episodes. No environment is needed."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from metagym.meta_episode import meta_step_of
from metagym.runs.folder import REPORT, RunFolder
from metagym.runs.lines import LoggedMetaStep
from metagym.runs.measurements import Measurement, Role, arm_of, measure
from metagym.types import Record, Reflection, Text, Trajectory, Usage

_COMPARED: Final = ("scores", "num_steps", "num_invalid", "usage", "scripted")
"""The fields of a measurement that follow from its episodes."""
_TESTS: Final = (Role.TEST_CHOSEN, Role.TEST_FIRST, Role.TEST_LAST, Role.STREAM_TEST)


class Difference(Record):
    """A difference between a record and the consequence of the recorded actions or episodes."""

    task_id: Text
    """The task; for a summary of several episodes, the name of the summary."""
    step: int | None
    """Number of the step, from 0; the last step if only the end differs. None for a summary."""
    field: Text
    recorded: Text
    again: Text


class _Batch(NamedTuple):
    """The name of the episodes that one measurement summarises, whatever their prompt."""

    loop: str
    """The meta-episode: a family or `stream`, and the seed."""
    seed: int
    role: Role
    arm: str
    meta_step: int | None
    """None if the arm alone names the batch."""
    family: str
    """The family of its tasks in a stream, whose arms play all families; else empty."""


_Played = Mapping[_Batch, Mapping[str, Sequence[Trajectory]]]
"""The episodes of each batch by their prompt, in the order of their repetitions."""


def log_differences(run: RunFolder, trajectories: Sequence[Trajectory]) -> Iterator[Difference]:
    """Yield the meta-steps or measurements of the log that are missing, or differ from the log's own episodes."""
    if run.manifest.evaluation is None:
        yield from _meta_steps(run, trajectories)
    else:
        measurements = tuple(run.all(Measurement).values())
        played = _played(run, trajectories)
        yield from _measurements(run, measurements, played)
        yield from _missing(run, measurements, played)


def _meta_steps(run: RunFolder, trajectories: Sequence[Trajectory]) -> Iterator[Difference]:
    logged = {item.index: item for item in run.all(LoggedMetaStep).values()}
    known = {(item.episode.key, item.episode.prompt): item for item in trajectories}
    reflected = [index for _, index in run.all(Reflection)]  # type: ignore[misc, has-type]
    for index in range(1 + max([*logged, *reflected], default=-1)):
        name, meta_step = f"meta-step {index}", logged.get(index)
        if meta_step is None:
            yield _difference(name, "meta_step", "missing", "there is a reflection on it, or a later one")
            continue
        found = [known[key, meta_step.prompt] for key in meta_step.episodes if (key, meta_step.prompt) in known]
        reward = meta_step_of(index, meta_step.prompt, tuple(found)).reward
        if len(found) < len(meta_step.episodes):
            yield _difference(name, "episodes", len(meta_step.episodes), len(found))
        elif meta_step.reward != reward and not math.isclose(meta_step.reward or 0, reward or 0):
            yield _difference(name, "reward", meta_step.reward, reward)


def _played(run: RunFolder, trajectories: Sequence[Trajectory]) -> _Played:
    roles = "|".join(re.escape(role) for role in Role)
    pattern = re.compile(rf"{re.escape(_arm(run))}/(?P<loop>.+/(?P<seed>\d+))(?:/(?P<role>{roles})(?:-\d+)?)?")
    played: dict[_Batch, dict[str, list[Trajectory]]] = defaultdict(lambda: defaultdict(list))
    for item in sorted(trajectories, key=lambda item: item.episode.repetition):
        episode = item.episode
        if (match := pattern.fullmatch(episode.arm)) is not None:  # else a reflector or an optimizer played it
            role = Role(match["role"] or Role.ONLINE)
            meta_step = episode.meta_step if role is Role.ONLINE else None
            family = item.task.family if run.manifest.kind == "stream" else ""
            batch = _Batch(match["loop"], int(match["seed"]), role, episode.arm, meta_step, family)
            played[batch][episode.prompt].append(item)
    return played


def _measurements(run: RunFolder, measurements: Sequence[Measurement], played: _Played) -> Iterator[Difference]:
    for known in measurements:
        batch = next((item for item in _batches(run, known) if known.prompt in played.get(item, {})), None)
        found = _on_tasks(known, [] if batch is None else played[batch][known.prompt])
        name = f"{known.family}, seed {known.seed}, {known.role} {known.index}"
        if len(found) < len(known.task_ids):
            yield _difference(name, "episodes", len(known.task_ids), len(found))
            continue
        key = (known.family, known.seed, known.role)
        again = measure(*key, index=known.index, prompt=known.prompt, trajectories=found)
        for field in _COMPARED:
            one, other = getattr(known, field), getattr(again, field)
            if one != other and (field, one) != ("usage", Usage()):  # equal prompts are played, and counted, once
                yield _difference(name, field, one, other)
                break


def _missing(run: RunFolder, measurements: Sequence[Measurement], played: _Played) -> Iterator[Difference]:
    """Yield the batches whose measurement is missing although a later one is there, or the report."""
    config: Mapping[str, Any] = (run.manifest.evaluation or {})["config"]
    measured = {next(_batches(run, known)) for known in measurements}
    tested = {_loop_of(run, known) for known in measurements if known.role in _TESTS}
    reported = _reported_seeds(run)
    for batch, prompts in played.items():
        # A killed run may lack the last ones; a budget may end within a batch, or after more of them than are measured.
        is_due = batch.seed in reported or (batch.loop in tested and batch.role not in _TESTS)
        if batch.role is Role.ONLINE and config.get("learning_budget") is not None:
            is_whole = max(map(len, prompts.values())) == config["episodes_per_step"]
            is_due = is_due and is_whole and (batch.meta_step or 0) < config["num_steps"]
        if batch.role is Role.REPLAY:  # else an optimizer's own
            is_due = is_due and config["replay"]
        if is_due and batch not in measured:
            step = "" if batch.meta_step is None else f" {batch.meta_step}"
            yield _difference(f"{batch.arm}{step}", "measurement", "missing", "its episodes were played")
    if run.manifest.kind == "stream":
        return
    arms = {batch.arm for batch in (*measured, *played)}
    for loop, seed in dict.fromkeys((batch.loop, batch.seed) for batch in played):  # equal prompts share episodes
        numbers = range(config["num_steps"] + 1 if config["num_validation"] else 0)
        due = [(Role.VALIDATION, number) for number in numbers if seed in reported or loop in tested]
        due += [(Role.TEST_LAST, 0)] if seed in reported else []
        for arm in (arm_of(f"{_arm(run)}/{loop}", *item) for item in due):
            if arm not in arms:
                yield _difference(arm, "measurement", "missing", "the evaluation is further")


def _batches(run: RunFolder, known: Measurement) -> Iterator[_Batch]:
    """Yield the batches that may hold the episodes of a measurement: its own, then those of an equal prompt."""
    loop, family = _loop_of(run, known), known.family if run.manifest.kind == "stream" else ""
    roles = (known.role, Role.TEST_CHOSEN) if known.role is Role.TEST_LAST else (known.role,)
    numbers = range(known.index, -1, -1) if known.role is Role.VALIDATION else [known.index]
    for role in roles:
        for number in numbers:
            meta_step = number if role is Role.ONLINE else None
            yield _Batch(loop, known.seed, role, arm_of(f"{_arm(run)}/{loop}", role, number), meta_step, family)


def _arm(run: RunFolder) -> str:
    return str((run.manifest.evaluation or {})["arm"])


def _loop_of(run: RunFolder, known: Measurement) -> str:
    return f"{'stream' if run.manifest.kind == 'stream' else known.family}/{known.seed}"


def _on_tasks(known: Measurement, trajectories: Sequence[Trajectory]) -> tuple[Trajectory, ...]:
    """Return the episodes on the tasks of a measurement, in their order, as far as they are there."""
    by_task: dict[str, list[Trajectory]] = defaultdict(list)
    for item in reversed(trajectories):
        by_task[item.task.id].append(item)
    return tuple(by_task[task_id].pop() for task_id in known.task_ids if by_task[task_id])


def _reported_seeds(run: RunFolder) -> range:
    """Return the seeds in `report.json`, which is written when all of them are measured."""
    try:
        config = json.loads((run.path / REPORT).read_text(encoding="utf-8"))["config"]
        return range(config["first_seed"], config["first_seed"] + config["num_seeds"])
    except (OSError, ValueError, KeyError, TypeError):
        return range(0)


def _difference(name: str, field: str, recorded: object, again: object) -> Difference:
    return Difference(task_id=name, step=None, field=field, recorded=str(recorded), again=str(again))

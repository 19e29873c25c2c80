"""The report of an evaluation: a frozen JSON record, built from measurements alone, without an environment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from metagym.evaluation.chance import Needs, misses
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.controls import ArmKind
from metagym.evaluation.difficulty import Contents, FamilyDifficulty, family_difficulty
from metagym.evaluation.gains import (
    TESTS,
    Figures,
    MeasurementTable,
    figures_of_all,
    notes_of_missing,
    over_families,
    scores_under_one_prompt,
    summarise,
)
from metagym.evaluation.looks import at_looks, looks_in_words
from metagym.evaluation.scale import ScoreScale, scale_of
from metagym.rendering import plural
from metagym.runs.measurements import Copies, Learned, Measurement, Role
from metagym.statistics import MIN_SEEDS_FOR_SIGN_FLIP, Estimate, at_any_look, detectable_effect, finite_mean, together
from metagym.statistics.intervals import ALPHA, Bounds
from metagym.types import SCHEMA_VERSION, Json, Record, Text, Texts, Usage, sum_usage

SCRIPTED_NOTE = "SCRIPTED: a script played or reflected; this says nothing about language models."


class ChosenPrompt(Record):
    """The chosen and the last prompt of one meta-episode."""

    family: Text
    seed: int
    chosen: int
    """Number of the prompt with the best validation score; the earliest of equals."""
    chosen_prompt: Text
    last_prompt: Text


class PromptScores(Record):
    """The validation score of each prompt of one meta-episode."""

    family: Text
    seed: int
    scores: tuple[float | None, ...]
    """In the order of the prompts, shape `[N + 1]`; None if every episode had an infrastructure error."""


class EvaluationReport(Record):
    """The figures of an evaluation, overall and per family, with its protocol.

    `report.overall.gain` is the primary endpoint. `model_dump_json` and `model_validate_json` give an equal report.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    arm: Text
    """The name of the evaluation."""
    kind: ArmKind = "method"
    config: EvaluationConfig
    score_bounds: Bounds | None = None
    """The least and the greatest score: `score_range`, or the scores seen if outside. Older reports lack it."""
    measurement: dict[Text, Json] = {}
    """The measurement fingerprint."""
    reflector: Json = None
    """The reflector's fingerprint."""
    learn_from: dict[Text, Text] = {}
    """The families whose prompts were learned on another family, and that family."""
    scripted: bool
    """Whether a script played or reflected in any part of it."""
    overall: Figures
    """Families averaged with equal weight."""
    families: dict[Text, Figures]
    prompts: tuple[ChosenPrompt, ...]
    verdict: Text
    """The primary endpoint in words; the words follow a fixed table."""
    num_missing: int
    """Test scores that are missing because of infrastructure errors; their pairs are left out."""
    usage: dict[Text, Usage]
    """Tokens: of the actor while learning (`learning`) and while being scored (`measuring`), of the `reflector`."""
    learned: tuple[Learned, ...] = ()
    """The usage of each meta-episode's learning, if there was a learning budget."""
    prompt_scores: tuple[PromptScores, ...] = ()
    """The validation scores of its prompts."""
    tests: tuple[Measurement, ...]
    """The test scores one by one; comparisons are made from them."""
    needs_chance: Needs = ""
    """Whose chance the arm needs, if it compares samples."""
    copies: tuple[Copies, ...] = ()
    """The parts of each meta-episode's last prompt that are in its learning episodes, word for word."""
    gaps: dict[int, float] = {}
    """The memorisation gap of each seed, over all families; comparisons with controls are made from them."""
    task_reads: dict[Text, int] = {}
    """Fields of `task` that a reflector in Python read, and in how many reflections."""
    difficulty: tuple[FamilyDifficulty, ...] = ()
    """How hard each family is under `sp_0`, by role; and by meta-step, if no prompt was ever changed."""
    looks: tuple[int, ...] = ()
    """The numbers of seeds at which there was a result: as begun, and after each `metagym extend`."""
    gain_at_any_look: Estimate | None = None
    """The gain with an interval that holds however often seeds were added. After a second look the verdict follows
    it."""
    gain_at_any_look_bounded: Estimate | None = None
    """The same by the bounds of the scores alone: wider, and right however skewed the seeds are."""
    notes: Texts = ()

    @property
    def scale(self) -> ScoreScale:
        """The bounds of the scores, at which all intervals of this report end."""
        if self.score_bounds is not None:
            return ScoreScale(*self.score_bounds)
        return scale_of(self.config, (score for item in self.tests for score in item.scores if score is not None))

    @property
    def misses_chance(self) -> bool:
        """Whether the arm needs chance that its models do not have: they sample at temperature 0."""
        return misses(self.needs_chance, self.measurement.get("actor"), self.reflector)

    @property
    def unfinished(self) -> str:
        """The part that was tested, in words, of an evaluation that was stopped; empty for a finished one."""
        return "".join(_unfinished(self.config, self.tests, self.looks))

    @property
    def num_seeds(self) -> int:
        """The number of replicates of the primary endpoint."""
        return 0 if self.overall.gain is None else self.overall.gain.num

    def over_families(self, figure: str) -> dict[str, Estimate | None]:
        """Return a figure (`gain`, ...) of each family, with intervals that hold together and Holm's p."""
        width = self.scale.width * (2 if figure == "memorisation_gap" else 1)
        found = {name: getattr(figures, figure) for name, figures in self.families.items()}
        return together(found, bounds=(-width, width))


def build_report(
    config: EvaluationConfig,
    measurements: Sequence[Measurement],
    *,
    arm: str = "",
    reflector_usage: Usage | None = None,
    learned: Sequence[Learned] = (),
    scripted: bool = False,
    contents: Mapping[str, Mapping[str, Any]] | None = None,
    has_kinds: bool = False,
    **about: Any,
) -> EvaluationReport:
    """Return the report of the measurements. `about` holds further fields of it, such as the fingerprints.

    `contents` are the contents of each family by role (see `metagym.evaluation.difficulty.Contents`); `has_kinds` says
    whether the task set names kinds.
    """
    table = MeasurementTable(measurements)
    figures, scale = figures_of_all(table, config.num_steps), scale_of(config, table.scores())
    overall, families = summarise(figures, config, scale)
    tests = [item for item in measurements if item.role in TESTS]
    # Without validation the last prompt is the chosen one, and its test is kept under both names.
    played = [item for item in tests if config.num_validation or item.role is not Role.TEST_LAST]
    is_scripted = scripted or any(item.scripted for item in measurements)
    notes = [*_unfinished(config, tests, about.get("looks", ())), *([SCRIPTED_NOTE] if is_scripted else [])]
    num_missing = sum(item.scores.count(None) for item in played)
    notes += notes_of_missing(arm, [*(item for item in measurements if item.role not in TESTS), *played])
    if len(table.seeds) < MIN_SEEDS_FOR_SIGN_FLIP:
        notes.append(
            f"With {plural(len(table.seeds), 'seed')} no exact sign-flip test can give p < 0.05; run at least "
            f"{MIN_SEEDS_FOR_SIGN_FLIP}."
        )
    difficulty = tuple(_difficulty(table, config, scale, contents or {}, about.get("learn_from", {})))
    if misses(about.get("needs_chance", ""), about.get("measurement", {}).get("actor"), about.get("reflector")):
        notes.append(f"{arm} needs chance, and its models have no chance (temperature 0): its samples are all equal.")
    copied = [item for item in about.get("copies", ()) if item.names or item.sentences]
    if copied:
        parts = ", ".join(repr(part) for part in (*copied[0].names, *copied[0].sentences)[:3])
        notes.append(
            f"{len(copied)} of {len(about['copies'])} last prompts hold names or sentences of the episodes that they "
            f"were learned on, such as {parts}. A copied word is no proof of harm: see the gap."
        )
    if reads := about.get("task_reads"):
        named = ", ".join(f"{name} ({plural(count, 'time')})" for name, count in sorted(reads.items()))
        notes.append(f"The reflector read fields of `task`, which no model sees: {named}. They can give answers away.")
    if len(table.seeds) > 1:
        notes.append(
            f"Intervals are over {len(table.seeds)} seeds on the same test tasks. For a trained reflector they speak "
            "of this one reflector, not of its training."
        )
    num_replays, num_on_kinds = table.num_of(Role.REPLAY), table.num_of(Role.KINDS_AFTER)
    if has_kinds and tests and num_on_kinds < num_replays:
        notes.append(
            f"{num_replays - num_on_kinds} of {plural(num_replays, 'reflection')} are left out of the gain on seen "
            "kinds: for a kind of their batch, no tasks are left whose contents no batch had."
        )
    notes += [warning for family in difficulty for warning in family.warnings]
    bounds, looks = scale.of_differences, about.get("looks", ())
    gain = at_looks(overall.gain, over_families(figures, "gain"), looks, bounds=bounds)
    last = None if overall.last_gain is None else at_any_look(overall.last_gain, bounds=bounds)
    notes += gain.notes
    followed = (gain.normal, last) if len(looks) > 1 else (overall.gain, overall.last_gain)
    gain_of_last = followed[1] if config.num_validation else None  # without validation it is the gain
    verdict = _verdict(followed[0], gain_of_last, looks=looks if len(looks) > 1 else (), largest=bounds[1])
    gaps = over_families(figures, "memorisation_gap")
    return EvaluationReport(
        arm=arm,
        config=config,
        score_bounds=scale.of_scores,
        scripted=is_scripted,
        overall=overall,
        families=families,
        prompts=tuple(_chosen_prompts(table)),
        verdict=verdict,
        gain_at_any_look=gain.normal,
        gain_at_any_look_bounded=gain.bounded,
        gaps={seed: gap for seed, gap in zip(table.seeds, gaps.tolist(), strict=True) if math.isfinite(gap)},
        num_missing=num_missing,
        usage=_usages(measurements, reflector_usage or Usage(), learned),
        learned=tuple(learned),
        prompt_scores=tuple(_prompt_scores(table, item, config.num_steps) for item in learned),
        tests=tuple(tests),
        difficulty=difficulty,
        notes=tuple(notes),
        **about,
    )


def _unfinished(config: EvaluationConfig, tests: Sequence[Measurement], looks: Sequence[int]) -> list[str]:
    """Return a note if not every meta-episode was tested."""
    tested = {(item.family, item.seed, item.role) for item in tests}
    loops = list(itertools.product(config.families or {item.family for item in tests}, config.seeds))
    num_tested = sum(all((*loop, role) in tested for role in TESTS) for loop in loops)
    if num_tested == len(loops):
        return []
    command = "began" if len(looks) < 2 else "extended"
    return [
        f"UNFINISHED: {num_tested} of {plural(len(loops), 'meta-episode')} are tested. The command that {command} the "
        "evaluation, with the same folder, resumes it."
    ]


def _difficulty(
    table: MeasurementTable,
    config: EvaluationConfig,
    scale: ScoreScale,
    contents: Mapping[str, Mapping[str, Any]],
    learn_from: Mapping[str, str],
) -> Iterator[FamilyDifficulty]:
    """Yield the difficulty of each family, from the episodes that were played under `sp_0` anyway."""
    for family in table.families:
        columns: dict[str, list[float]] = {}
        kinds = {"train": Role.ONLINE, "validation": Role.VALIDATION, "test": Role.TEST_FIRST}
        if learn_from.get(family, family) != family:  # its fresh batches are of another family
            del kinds["train"]
        for role, kind in kinds.items():
            played = [found for seed in table.seeds if (found := table.get(family, seed, kind, 0)) is not None]
            by_task: dict[str, list[float]] = {}
            for item in played:
                for task_id, score in zip(item.task_ids, item.scores, strict=True):
                    by_task.setdefault(task_id, []).extend([] if score is None else [score])
            columns[role] = [float(finite_mean(scores)) for scores in by_task.values()]
        yield family_difficulty(
            family,
            contents={role: Contents.model_validate(item) for role, item in contents.get(family, {}).items()},
            scores=columns,
            by_meta_step=scores_under_one_prompt(table, family, config.num_steps),
            resolution=scale.of_one_in(config.episodes_per_step),
            scale=scale,
        )


def word(difference: Estimate, *, is_equal: bool = False) -> str:
    """Return the word for a difference, by its p (adjusted, if there is one); `is_equal`: an equivalence test holds.

    >>> word(Estimate(mean=0.2, low=0.1, high=0.3, p_value=0.01, num=9))
    'better'
    >>> word(Estimate(mean=0.2, low=0.0, high=0.3, p_value=0.01, adjusted_p=0.07, num=9))
    'not shown'
    """
    if difference.low is None or difference.high is None:
        return "no interval"
    shown = {1: "better", -1: "worse", 0: "no difference" if is_equal else "not shown"}
    return shown[difference.sign]


def power_in_words(std: float, num: int, *, largest: float = math.inf, num_arms: int = 1) -> str:
    """Return the true difference that would be found, computed from the variance alone; `largest`: what scores allow.

    Each of several comparisons (`num_arms`) is tested at 5 % divided by their number, which Holm's first step asks for.

    >>> power_in_words(0.1, 10)
    'a true difference of 0.100 would be found with 80 % power'
    >>> power_in_words(0.5, 2, largest=1.0)
    '2 seeds are too few to find any difference with 80 % power'
    """
    found = detectable_effect(std, num, alpha=ALPHA / num_arms)
    if found > largest:
        return f"{plural(num, 'seed')} are too few to find any difference with 80 % power"
    return f"a true difference of {found:.3f} would be found with 80 % power"


def _verdict(gain: Estimate | None, last: Estimate | None, *, looks: Sequence[int], largest: float) -> str:
    """Return the primary endpoint in words, and the last prompt's gain: validation can hide a harmful reflector."""
    harmful = last is not None and last.sign < 0
    further = "" if last is None or last.low is None else f"; the last prompt: gain {last.mean:+.3f}"
    return _primary_verdict(gain, looks, largest) + further + (", worse than sp_0" if harmful else "")


def _primary_verdict(gain: Estimate | None, looks: Sequence[int], largest: float) -> str:
    if gain is None:
        return "nothing measured: no task has a test score under both prompts"
    named, seeds = word(gain), plural(gain.num, "seed")
    if gain.low is None or gain.high is None or gain.std is None:
        return f"{named}: a gain of {gain.mean:+.3f} in {seeds}; run more seeds"
    numbers = f"gain {gain.mean:+.3f}, 95 % interval [{gain.low:+.3f}, {gain.high:+.3f}], {seeds}"
    numbers += looks_in_words(looks)
    if named != "not shown":
        return f"{named} than sp_0: {numbers}"
    # The power is that of the fixed t test.
    power = "" if len(looks) > 1 else f"; {power_in_words(gain.std, gain.num, largest=largest)}"
    return f"not shown to differ from sp_0: {numbers}{power}"


def _chosen_prompts(table: MeasurementTable) -> Iterator[ChosenPrompt]:
    for family, seed in itertools.product(table.families, table.seeds):
        chosen, last = (table.get(family, seed, role) for role in (Role.TEST_CHOSEN, Role.TEST_LAST))
        if chosen is not None and last is not None:
            yield ChosenPrompt(
                family=family, seed=seed, chosen=chosen.index, chosen_prompt=chosen.prompt, last_prompt=last.prompt
            )


def _prompt_scores(table: MeasurementTable, learned: Learned, num_steps: int) -> PromptScores:
    found = [table.get(*learned.key, Role.VALIDATION, index) for index in range(num_steps + 1)]
    scores = tuple(None if item is None else item.mean for item in found)
    return PromptScores(family=learned.family, seed=learned.seed, scores=scores)


def _usages(
    measurements: Sequence[Measurement], reflector_usage: Usage, learned: Sequence[Learned]
) -> dict[str, Usage]:
    measuring = sum_usage(item.usage for item in measurements if item.role is not Role.ONLINE)
    learning = sum_usage(item.usage for item in measurements if item.role is Role.ONLINE)
    if learned:  # the ledgers know of replays, gates and every call of the method
        learning = sum_usage(item.usage.get("actor", Usage()) for item in learned)
        reflector_usage = sum_usage(own for item in learned for role, own in item.usage.items() if role != "actor")
    return {"learning": learning, "measuring": measuring, "reflector": reflector_usage}

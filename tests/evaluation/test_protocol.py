"""The protocol: what is played, what is chosen, what is told; and planted reflectors get the right verdict."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from pydantic import ValidationError

import metagym
from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.envs.gates.env import GatesEnv, GatesTaskSet
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import (
    ConfigError,
    InfrastructureError,
    LeakError,
    RunFolderError,
    TasksExhaustedError,
    UnknownNameError,
)
from metagym.evaluation import EvaluationConfig, EvaluationReport, evaluate
from metagym.evaluation.comparison import differences
from metagym.evaluation.plan import Plan
from metagym.evaluation.preset import MAX_FAMILIES, preset_for
from metagym.evaluation.store import read_report
from metagym.optimizers import BestOfN
from metagym.reflectors import ChatReflector
from metagym.runs import LOG, Measurement, Role, RunFolder, evaluation_size
from metagym.testing import FakeChatModel, ScriptedActor
from metagym.types import Action, Episode, MetaStep, Observation, Step, Task
from tests.conftest import FailingEnv, MakeGates, gates_of, run_python
from tests.evaluation import planted

FAMILIES = ("law-0007", "law-0500")
CONFIG = EvaluationConfig(
    families=FAMILIES, num_steps=3, episodes_per_step=3, num_seeds=6, num_validation=8, num_test=12
)
SMALL = CONFIG.model_copy(update={"families": FAMILIES[:1], "num_steps": 2, "num_seeds": 2})


def verdict_of(env: GatesMetaEnv, reflector: Any, config: EvaluationConfig = CONFIG) -> EvaluationReport:
    return evaluate(env, reflector, config=config)


# Without validation tasks -----------------------------------------------------------------------------


def test_without_validation_tasks_the_last_prompt_decides_and_is_tested_once(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    config = SMALL.model_copy(update={"num_validation": 0})
    report = evaluate(make_gates(GatesDemoActor(slip=0.1)), planted.Oracle(), config=config, path=tmp_path / "run")
    assert {item.chosen for item in report.prompts} == {config.num_steps}
    assert report.overall.gain == report.overall.last_gain
    assert report.verdict.startswith("better than sp_0")
    assert "last prompt" not in report.verdict  # it is the prompt that was chosen
    assert report.overall.optimism is None
    assert not any(report.overall.validation)
    with RunFolder.open(tmp_path / "run") as run:
        played = Counter(item.episode.arm.split("/")[-1] for item in run.episodes())
        roles = {item.role for item in run.all(Measurement).values()}
    tests = config.num_seeds * config.num_test
    assert {arm: num for arm, num in played.items() if arm.startswith("test")} == {
        "test chosen": tests,
        "test first": tests,
    }
    assert roles == {Role.ONLINE, Role.REPLAY, Role.TEST_CHOSEN, Role.TEST_FIRST, Role.TEST_LAST}
    assert sum(played.values()) == evaluation_size(dict(config))[1]


def test_a_harmful_last_prompt_is_called_worse_without_validation_tasks(make_gates: MakeGates) -> None:
    update = {"families": FAMILIES[:1], "first_prompt": planted.right_prompt(FAMILIES[0]), "num_validation": 0}
    report = verdict_of(make_gates(GatesDemoActor(slip=0.1)), planted.Degrader(), CONFIG.model_copy(update=update))
    assert report.verdict.startswith("worse than sp_0")


# Planted reflectors -----------------------------------------------------------------------------------


def test_the_oracle_is_called_better(make_gates: MakeGates) -> None:
    report = verdict_of(make_gates(GatesDemoActor(slip=0.1)), planted.Oracle())
    assert report.overall.gain is not None
    assert report.overall.gain.low is not None
    assert report.overall.gain.low > 0.8
    assert report.verdict.startswith("better than sp_0")


def test_the_identity_is_called_neither_better_nor_worse(make_gates: MakeGates) -> None:
    for slip in (0.0, 0.2):
        report = verdict_of(make_gates(GatesDemoActor(slip=slip)), planted.Identity())
        assert report.verdict.startswith("not shown to differ")
        assert {item.chosen for item in report.prompts} == {0}
        assert report.overall.regression_rate is not None
        assert report.overall.regression_rate.mean == 0.0


def test_the_degrader_is_called_worse_where_there_is_something_to_lose(make_gates: MakeGates) -> None:
    config = CONFIG.model_copy(update={"families": FAMILIES[:1], "first_prompt": planted.right_prompt(FAMILIES[0])})
    report = verdict_of(make_gates(GatesDemoActor(slip=0.1)), planted.Degrader(), config)
    assert report.overall.last_gain is not None
    assert report.overall.last_gain.high is not None
    assert report.overall.last_gain.high < -0.5
    assert report.verdict.startswith("not shown")  # the validation set chose sp_0
    assert report.overall.regression_rate is not None
    assert report.overall.regression_rate.mean == pytest.approx(1 / 3)


@pytest.mark.parametrize("reflector", [planted.RandomRewriter(), planted.KeywordDump()])
def test_random_rewriting_and_a_dump_of_keywords_are_not_called_good(make_gates: MakeGates, reflector: Any) -> None:
    report = verdict_of(make_gates(GatesDemoActor(slip=0.1)), reflector)
    assert report.overall.gain is not None
    assert report.overall.gain.mean < 0.2
    assert not report.overall.last_gain or report.overall.last_gain.mean < 0.1


def test_the_memoriser_shows_replay_gain_and_no_transfer_gain(make_gates: MakeGates) -> None:
    overall = verdict_of(make_gates(planted.Reader(slip=0.02)), planted.Memoriser()).overall
    assert overall.replay_gain
    assert overall.replay_gain.low
    assert overall.replay_gain.low > 0.5
    assert overall.transfer_gain
    assert abs(overall.transfer_gain.mean) < 0.05
    assert overall.memorisation_gap
    assert overall.memorisation_gap.sign == 1


def test_the_learner_shows_transfer_gain_and_no_gap(make_gates: MakeGates) -> None:
    overall = verdict_of(make_gates(GatesDemoActor(slip=0.02)), planted.Oracle()).overall
    assert overall.transfer_gain
    assert overall.transfer_gain.low
    assert overall.transfer_gain.low > 0.25
    assert overall.memorisation_gap
    assert abs(overall.memorisation_gap.mean) < 0.05


def test_the_leaker_is_caught_by_the_disjointness_check(make_gates: MakeGates) -> None:
    env = make_gates()
    with pytest.raises(LeakError, match=r"to see none of the test tasks; it plays 'law-0007/\d+'"):
        evaluate(env, planted.leaker(env), config=CONFIG)


# Disjointness -----------------------------------------------------------------------------------------


class FixedLeak(GatesTaskSet):
    def draw(self, num_tasks: int, **options: Any) -> tuple[Task, ...]:
        drawn = super().draw(num_tasks, **options)
        if options["split"] == "train":
            leaked = self.find(LEAKED)
            return (leaked.model_copy(update={"split": "train"}), *drawn[1:])
        return drawn


def _first_test_task() -> str:
    import numpy as np

    from metagym.types import derive_seed

    rng = np.random.default_rng(derive_seed("test", 0, FAMILIES[0]))
    return GatesTaskSet().draw(1, rng=rng, families=FAMILIES[:1], split="test")[0].id


LEAKED = _first_test_task()


def test_one_leaked_task_is_refused_before_anything_is_played() -> None:
    played: list[Any] = []

    class Leaky(GatesMetaEnv):
        def make_task_set(self) -> Any:
            return FixedLeak()

    with Leaky("demo", on_episode=played.append) as env, pytest.raises(LeakError, match=r"train and test tasks of"):
        evaluate(env, "demo", config=SMALL)
    assert not played


class CanaryEnv(gymnasium.Wrapper[str, str, str, str]):
    """Shows a word in every text of validation and test levels, and another one in those of training."""

    tasks = GatesTaskSet()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._word = f"canary-{self.tasks.find((options or {})['task_id']).split}"
        text, info = self.env.reset(seed=seed, options=options)
        return f"{self._word} {text}", info

    def step(self, action: str) -> Any:
        text, *rest = self.env.step(action)
        return (f"{self._word} {text}", *rest)


def test_no_word_of_a_validation_or_test_task_is_in_a_reflectors_request(make_gates: MakeGates) -> None:
    model = FakeChatModel(["ANALYSIS: a\nIMPROVED PROMPT:\n- when the gate is oak, push"])
    env = make_gates(GatesDemoActor(), cls=gates_of(CanaryEnv))  # type: ignore[arg-type]
    seen: list[str] = []
    env.on_episode = lambda item: seen.append(item.steps[0].observation.text.split()[0])
    evaluate(env, ChatReflector(model), config=SMALL)
    text = "\n".join(message["content"] for messages, _ in model.calls for message in messages)
    assert "canary-train" in text
    assert {"canary-validation", "canary-test"} <= set(seen)
    assert not [word for word in ("canary-validation", "canary-test", "law-0007", "train/") if word in text]


# What is played ---------------------------------------------------------------------------------------


def test_the_report_counts_what_the_protocol_says(make_gates: MakeGates, tmp_path: Path) -> None:
    report = evaluate(make_gates(), "demo", config=CONFIG, path=tmp_path / "run")
    assert (len(report.overall.online), len(report.overall.validation), report.num_seeds) == (3, 4, 6)
    with RunFolder.open(tmp_path / "run") as run:
        counts = Counter(item.role for item in run.all(Measurement).values())
        learned = [item for item in run.episodes() if item.episode.arm.count("/") == 2]
    assert counts == {
        Role.ONLINE: 36, Role.REPLAY: 36, Role.VALIDATION: 48,
        Role.TEST_CHOSEN: 12, Role.TEST_FIRST: 12, Role.TEST_LAST: 12,
    }  # fmt: skip
    for family in FAMILIES:
        for seed in range(6):
            ids = [item.task.id for item in learned if item.episode.arm == f"reflector/{family}/{seed}"]
            assert len(ids) == len(set(ids)) == 9
            assert all(task_id.startswith(family) for task_id in ids)


def test_all_arms_and_seeds_share_test_tasks_and_all_arms_the_learning_tasks(make_gates: MakeGates) -> None:
    first, second = (evaluate(make_gates(), name, config=CONFIG, arm=name) for name in ("demo", "fixed"))
    assert first.measurement == second.measurement
    assert [item.task_ids for item in first.tests] == [item.task_ids for item in second.tests]


def test_arms_never_share_their_chance(make_gates: MakeGates, tmp_path: Path) -> None:
    seeds = []
    for arm in ("a", "b"):
        evaluate(make_gates(), "fixed", config=SMALL, arm=arm, path=tmp_path / arm)
        with RunFolder.open(tmp_path / arm) as run:
            seeds.append([item.episode.seed for item in run.episodes()])
    assert not set(seeds[0]) & set(seeds[1])
    assert len(set(seeds[0])) == len(seeds[0])


def test_the_chosen_prompt_is_the_earliest_of_the_best(make_gates: MakeGates) -> None:
    prompts = ["useless", planted.right_prompt(FAMILIES[0]), planted.right_prompt(FAMILIES[0]) + "\nAgain."]

    def write(history: Sequence[MetaStep]) -> str:
        return prompts[history[-1].index]

    report = evaluate(make_gates(), write, config=CONFIG.model_copy(update={"families": FAMILIES[:1]}))
    assert {(item.chosen, item.chosen_prompt) for item in report.prompts} == {(2, prompts[1])}
    assert {item.last_prompt for item in report.prompts} == {prompts[2]}


def test_a_task_won_three_times_of_three_scores_one(make_gates: MakeGates) -> None:
    env = make_gates(ScriptedActor(["knock"]), families=["law-0000"])
    env.reset(seed=0)
    task = env.step("p")[4]["task_ids"][0]
    (meta_step,) = env.replay(["p"], [task], repetitions=3)
    assert meta_step.reward == 1.0


def test_the_report_goes_to_json_and_back(make_gates: MakeGates, tmp_path: Path) -> None:
    report = evaluate(make_gates(), "demo", config=SMALL, path=tmp_path / "run")
    assert EvaluationReport.model_validate_json(report.model_dump_json()) == report
    assert EvaluationReport.model_validate_json((tmp_path / "run" / "report.json").read_text()) == report
    assert report.scripted
    assert any("SCRIPTED" in note for note in report.notes)
    assert any("no exact sign-flip" in note for note in report.notes)


def test_reading_a_report_needs_no_environment(make_gates: MakeGates, tmp_path: Path) -> None:
    report = evaluate(make_gates(), "demo", config=SMALL, path=tmp_path / "run")
    code = (
        "import sys; from metagym.evaluation.store import read_report; print(read_report(sys.argv[1]).verdict);"
        "assert not [name for name in sys.modules if name.startswith('metagym.envs')]"
    )
    assert run_python(code, str(tmp_path / "run")).stdout.strip() == report.verdict


# Failures ---------------------------------------------------------------------------------------------


class Stopping(GatesDemoReflector):
    """The demo reflector, whose server is down at one of its calls."""

    def __init__(self, at_call: int) -> None:
        self.num_calls, self.at_call = 0, at_call

    async def reflect(self, history: Sequence[MetaStep]) -> Any:
        self.num_calls += 1
        if self.num_calls == self.at_call:
            raise InfrastructureError("the server is down")
        return await super().reflect(history)


def test_a_choice_that_led_to_a_test_is_not_made_again(make_gates: MakeGates, tmp_path: Path) -> None:
    class Hiccup(GatesDemoActor):
        """Fails on the validation tasks of the second seed, unless the prompt is the first one."""

        is_over = False

        async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
            if not self.is_over and "/1/validation" in episode.arm and not episode.arm.endswith("-0"):
                raise RuntimeError("hiccup")
            return await super().act(episode, steps, observation)

    before = evaluate(make_gates(Hiccup()), "demo", config=SMALL, path=tmp_path / "run")
    Hiccup.is_over = True
    again = evaluate(make_gates(Hiccup()), "demo", config=SMALL, path=tmp_path / "run")
    assert again == before
    assert len(again.tests) == 3 * SMALL.num_seeds


def test_what_fails_once_is_played_again_and_what_always_fails_is_dropped(make_gates: MakeGates) -> None:
    report = evaluate(make_gates(), "demo", config=SMALL)
    broken = report.tests[0].task_ids[2]
    env = make_gates(cls=gates_of(lambda env: FailingEnv(env, lambda task_id: task_id == broken)))
    failing = evaluate(env, "demo", config=SMALL)
    assert failing.num_missing == 6
    assert evaluate(env, "demo", config=SMALL.model_copy(update={"num_validation": 0})).num_missing == 4
    assert failing.tests[0].scores[2] is None
    assert failing.overall.gain is not None

    failures: Counter[str] = Counter()

    def fails(task_id: str) -> bool:
        failures[task_id] += 1
        return task_id == broken and failures[task_id] <= 2  # both attempts of the first episode

    env = make_gates(cls=gates_of(lambda env: FailingEnv(env, fails)))
    again = evaluate(env, "demo", config=SMALL)
    assert (again.overall, again.tests) == (report.overall, report.tests)


def test_a_stopped_evaluation_goes_on_and_gives_the_same_report(make_gates: MakeGates, tmp_path: Path) -> None:
    whole = evaluate(make_gates(), "demo", config=SMALL, path=tmp_path / "whole")

    with pytest.raises(InfrastructureError, match="the server is down"):
        evaluate(make_gates(), Stopping(3), config=SMALL, path=tmp_path / "run")
    again = evaluate(make_gates(), "demo", config=SMALL, path=tmp_path / "run")
    assert again == whole
    assert sorted((tmp_path / "run" / LOG).read_bytes().splitlines()) == sorted(
        (tmp_path / "whole" / LOG).read_bytes().splitlines()
    )


def test_a_failure_that_was_tolerated_stays_one_in_an_evaluation_that_goes_on(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    class Hiccup(GatesDemoActor):
        """Fails in all of the first batch except its last task, once."""

        num_failures = 0

        async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
            if episode.arm.endswith("/0") and not episode.meta_step and Hiccup.num_failures < 2:
                Hiccup.num_failures += 1
                raise RuntimeError("hiccup")
            return await super().act(episode, steps, observation)

    config = SMALL.model_copy(update={"num_seeds": 1, "retries": 0})
    key = (FAMILIES[0], 0, Role.ONLINE.value, 0)
    scores = []
    with pytest.raises(InfrastructureError, match="the server is down"):
        evaluate(make_gates(Hiccup(), max_failure_rate=0.9), Stopping(2), config=config, path=tmp_path)
    for _ in range(2):
        with RunFolder.open(tmp_path) as run:
            scores.append(run.all(Measurement)[key].scores)
        evaluate(make_gates(Hiccup(), max_failure_rate=0.9), "demo", config=config, path=tmp_path)
    assert scores[0].count(None) == 2
    assert scores[0] == scores[1]


def test_a_finished_evaluation_plays_nothing_again(make_gates: MakeGates, tmp_path: Path) -> None:
    report = evaluate(make_gates(), "demo", config=SMALL, path=tmp_path)
    before = (tmp_path / LOG).read_bytes()
    env = make_gates(cls=gates_of(lambda env: FailingEnv(env, lambda task_id: True)))
    env.__class__.__qualname__, env.__class__.__module__ = GatesMetaEnv.__qualname__, GatesMetaEnv.__module__
    assert read_report(tmp_path) == report
    assert evaluate(make_gates(), "demo", config=SMALL, path=tmp_path) == report
    assert (tmp_path / LOG).read_bytes() == before


@pytest.mark.parametrize(
    ("update", "error", "told"),
    [
        ({"families": ("law-9999",)}, UnknownNameError, "Unknown family 'law-9999'"),
        ({"families": ()}, ConfigError, r"Expected the families to evaluate, got nothing \(1296 exist\)"),
    ],
)
def test_bad_input_is_told_before_anything_is_played(
    make_gates: MakeGates, tmp_path: Path, update: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        evaluate(make_gates(), "demo", config=CONFIG.model_copy(update=update), path=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_family_in_learn_from_that_is_not_evaluated_is_refused(make_gates: MakeGates, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown family in learn_from 'law-007'.* Did you mean 'law-0007'"):
        evaluate(make_gates(), "demo", config=SMALL, learn_from={"law-007": "law-0500"}, path=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ends", [(0.0, math.inf), (-math.inf, 0.0), (math.nan, 1.0), (0.0, math.nan), (1.0, 1.0)])
def test_a_score_range_without_finite_ends_in_order_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match=r"Expected score_range=\(least, greatest\), two finite numbers, got \("):
        EvaluationConfig(score_range=ends)


def test_more_than_a_hundred_families_are_evaluated_if_they_are_named(make_gates: MakeGates) -> None:
    names = tuple(f"law-{number:04d}" for number in range(MAX_FAMILIES + 1))
    sizes = {"num_steps": 1, "episodes_per_step": 1, "num_validation": 1, "num_test": 1}
    plan = Plan(make_gates(), EvaluationConfig(families=names, **sizes), {}, "")
    assert plan.config.families == names
    assert Plan(make_gates(families=names), EvaluationConfig(**sizes), {}, "").config.families == names
    assert preset_for("MetaGym/Gates-v0", families=names).environments[0].families == names


def test_what_the_protocol_sets_itself_is_no_difference_of_two_measurements(make_gates: MakeGates) -> None:
    own = {"schedule": "same", "split": "validation", "success_threshold": 0.0}
    reports = [evaluate(env, "fixed", config=CONFIG) for env in (make_gates(), make_gates(**own))]
    assert differences(*reports) == ()
    assert [item.scores for item in reports[0].tests] == [item.scores for item in reports[1].tests]


def test_an_optimizer_without_a_budget_has_the_episodes_of_the_meta_steps(make_gates: MakeGates) -> None:
    config = CONFIG.model_copy(update={"num_steps": 2, "episodes_per_step": 2})
    report = evaluate(make_gates(), "demo", config=config, optimizer=BestOfN(n=3, num_steps=2))
    assert all(item.total.episodes <= 4 for item in report.learned)


def test_more_tasks_than_there_are_is_told_before_anything_is_played() -> None:
    class Few(GatesMetaEnv):
        def make_task_set(self) -> Any:
            return metagym.TaskSet.from_seeds(GatesEnv, 60, families=["law-0000", "law-0001"])

    config = EvaluationConfig(num_steps=10, episodes_per_step=5, num_seeds=1, num_validation=2, num_test=2)
    with (
        Few("demo") as env,
        pytest.raises(TasksExhaustedError, match=r"has too few .* tasks .*it asks for 2"),
    ):
        evaluate(env, "demo", config=config)


def test_another_protocol_in_the_same_folder_is_refused_by_name(make_gates: MakeGates, tmp_path: Path) -> None:
    evaluate(make_gates(), "demo", config=SMALL, path=tmp_path)
    with pytest.raises(RunFolderError, match=r"fingerprint differs .*num_test"):
        evaluate(make_gates(), "demo", config=SMALL.model_copy(update={"num_test": 3}), path=tmp_path)
    with pytest.raises(RunFolderError, match=r"fingerprint differs .*FixedReflector"):
        evaluate(make_gates(), "fixed", config=SMALL, path=tmp_path)


def test_what_is_no_meta_environment_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expected a meta-environment, got GatesEnv"):
        evaluate(GatesEnv(), "demo")


def test_the_endpoint_stands_in_the_manifest_before_the_first_episode(tmp_path: Path) -> None:
    class Down(GatesMetaEnv):
        def play(self, episodes: Any) -> Any:
            raise InfrastructureError("down")

    with Down("demo") as env, pytest.raises(InfrastructureError):
        evaluate(env, "demo", config=SMALL, path=tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert "chosen on validation, minus test score of sp_0" in manifest["evaluation"]["config"]["primary_endpoint"]

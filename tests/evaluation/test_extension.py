"""More seeds later: the first ones stay, the numbers are those of a longer evaluation, and looks are recorded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.errors import ConfigError, RunFolderError
from metagym.evaluation import EvaluationConfig, EvaluationReport, compare, evaluate
from metagym.evaluation.campaign import run_campaign
from metagym.evaluation.extension import extend, extend_campaign
from metagym.evaluation.preset import Preset
from metagym.evaluation.report import build_report
from metagym.evaluation.store import read_report, record_extension
from metagym.runs import LOG, MANIFEST
from metagym.runs.measurements import Measurement, Role
from metagym.runs.repair import LOSSES, repair_run
from metagym.runs.watching.watcher import Watcher
from metagym.statistics import at_any_look_bounded
from metagym.types import Usage
from tests.conftest import MakeGates

CONFIG = EvaluationConfig(families=("law-0007",), num_steps=2, episodes_per_step=2, num_validation=2, num_test=4)
NOISY = GatesDemoActor(slip=0.2)


def with_seeds(num: int) -> EvaluationConfig:
    return CONFIG.model_copy(update={"num_seeds": num})


def without_looks(report: EvaluationReport) -> dict[str, Any]:
    notes = [note for note in report.notes if not note.startswith("With several looks")]
    return {**report.model_dump(exclude={"looks", "verdict"}), "notes": notes}


def test_an_extended_evaluation_has_the_numbers_of_one_that_began_with_all_seeds(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    env, reflector = make_gates(NOISY), GatesDemoReflector()
    evaluate(env, reflector, config=with_seeds(2), path=tmp_path)
    before = (tmp_path / LOG).read_bytes()
    extended = extend(tmp_path, 4, env=env, reflector=reflector)
    assert (tmp_path / LOG).read_bytes().startswith(before)
    whole = evaluate(env, reflector, config=with_seeds(4))
    assert without_looks(extended) == without_looks(whole)
    assert (extended.looks, whole.looks) == ((2, 4), (4,))
    assert read_report(tmp_path) == extended
    assert "looked at after 2, 4 seeds" in extended.verdict
    assert compare([extended, whole.model_copy(update={"arm": "whole"})])[0].looks == (2, 4)


def test_an_interrupted_extension_goes_on_and_counts_as_one_look(make_gates: MakeGates, tmp_path: Path) -> None:
    played: list[Any] = []

    def stop_after(num: int) -> Any:
        def on_episode(trajectory: Any) -> None:
            played.append(trajectory)
            if len(played) == num:
                raise KeyboardInterrupt

        return on_episode

    env, reflector = make_gates(NOISY), GatesDemoReflector()
    evaluate(env, reflector, config=with_seeds(2), path=tmp_path)
    env.on_episode = stop_after(5)
    with pytest.raises(KeyboardInterrupt):
        extend(tmp_path, 3, env=env, reflector=reflector)
    env.on_episode = None
    extended = extend(tmp_path, 3, env=env, reflector=reflector)
    assert without_looks(extended) == without_looks(evaluate(env, reflector, config=with_seeds(3)))
    assert extended.looks == (2, 3)
    assert (tmp_path / LOG).read_bytes().count(b'"kind":"added_seeds"') == 1


def test_a_second_seed_shows_which_text_of_the_first_is_the_language_of_the_family(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    def repeat_a_text(history: Any) -> str:
        return str(history[-1].trajectories[0].steps[0].observation.text)

    env = make_gates(NOISY)
    alone = evaluate(env, repeat_a_text, config=with_seeds(1), path=tmp_path)
    assert alone.copies[0].sentences
    extended = extend(tmp_path, 2, env=env, reflector=repeat_a_text)
    assert extended.copies == evaluate(env, repeat_a_text, config=with_seeds(2)).copies


def test_the_remedy_of_an_extension_that_stopped_finishes_it(make_gates: MakeGates, tmp_path: Path) -> None:
    env, reflector = make_gates(NOISY), GatesDemoReflector()
    evaluate(env, reflector, config=with_seeds(2), path=tmp_path)
    record_extension(tmp_path, 3)  # it is killed here
    with pytest.raises(RunFolderError, match=r"is not finished: 2 of 3 .*Finish it first: extend it to 3 seeds"):
        extend(tmp_path, 4, env=env, reflector=reflector)
    assert extend(tmp_path, 3, env=env, reflector=reflector).looks == (2, 3)
    assert extend(tmp_path, 4, env=env, reflector=reflector).looks == (2, 3, 4)


def test_an_extension_that_stopped_is_not_finished_by_the_first_command(make_gates: MakeGates, tmp_path: Path) -> None:
    env, reflector = make_gates(NOISY), GatesDemoReflector()
    evaluate(env, reflector, config=with_seeds(2), path=tmp_path)
    record_extension(tmp_path, 3)  # it is killed here
    report = evaluate(env, reflector, config=with_seeds(2), path=tmp_path)
    assert "2 of 3 meta-episodes are tested. The command that extended the evaluation" in report.unfinished
    assert Watcher(tmp_path).look(time.time()).status != "finished"


def test_an_unfinished_evaluation_and_fewer_seeds_are_refused(make_gates: MakeGates, tmp_path: Path) -> None:
    env, reflector = make_gates(NOISY), GatesDemoReflector()
    evaluate(env, reflector, config=with_seeds(2), path=tmp_path)
    with pytest.raises(RunFolderError, match=r"Expected more seeds than the 2 that .* has, got 2"):
        extend(tmp_path, 2, env=env, reflector=reflector)
    lines = (tmp_path / LOG).read_bytes().splitlines(keepends=True)
    (tmp_path / LOG).write_bytes(b"".join(line for line in lines if b'"test last"' not in line))
    with pytest.raises(RunFolderError, match=r"is not finished: 0 of 2 meta-episodes have test scores"):
        extend(tmp_path, 3, env=env, reflector=reflector)


def test_a_refused_extension_changes_nothing(make_gates: MakeGates, tmp_path: Path) -> None:
    env = make_gates(NOISY)
    before = evaluate(env, GatesDemoReflector(), config=with_seeds(2), path=tmp_path)
    log = (tmp_path / LOG).read_bytes()
    for other, reflector in ((env, "fixed"), (make_gates(NOISY, max_steps=3), "demo")):
        with pytest.raises(RunFolderError, match="cannot be resumed, because its fingerprint differs"):
            extend(tmp_path, 4, env=other, reflector=reflector)
        assert (tmp_path / LOG).read_bytes() == log
    assert read_report(tmp_path) == before


def test_a_look_whose_record_was_damaged_still_counts(make_gates: MakeGates, tmp_path: Path) -> None:
    env, reflector = make_gates(NOISY), GatesDemoReflector()
    evaluate(env, reflector, config=with_seeds(2), path=tmp_path)
    extended = extend(tmp_path, 4, env=env, reflector=reflector)
    log = (tmp_path / LOG).read_bytes()
    (tmp_path / LOG).write_bytes(log.replace(b'"kind":"added_seeds","record":{', b'"kind":"added_seeds","record":{{'))
    (removed,) = repair_run(tmp_path).removed
    assert removed.lost == LOSSES["added_seeds"]
    assert read_report(tmp_path) == extended
    assert evaluate(env, reflector, config=with_seeds(2), path=tmp_path) == extended
    assert extend(tmp_path, 5, env=env, reflector=reflector).looks == (2, 4, 5)


def test_a_campaign_is_extended_with_all_its_arms(preset: Preset, tmp_path: Path) -> None:
    places = tuple(item.model_copy(update={"families": item.families[:1]}) for item in preset.environments)
    update = {"num_seeds": 1, "num_steps": 1, "num_test": 2, "controls": ("no reflection",), "environments": places}
    small = preset.model_copy(update=update)
    run_campaign(small, actor="demo", reflector="demo", path=tmp_path)
    (extended,) = extend_campaign(tmp_path, 2)
    (whole,) = run_campaign(
        small.model_copy(update={"num_seeds": 2}), actor="demo", reflector="demo", path=tmp_path / "whole"
    )
    assert [*map(without_looks, extended.reports)] == [*map(without_looks, whole.reports)]
    assert {report.looks for report in extended.reports} == {(1, 2)}
    assert extended.comparisons[0].difference == whole.comparisons[0].difference
    with pytest.raises(ConfigError, match=r"one with campaign.json in it"):
        extend_campaign(extended.folder, 4)


def logs_in(folder: Path) -> dict[Path, bytes]:
    return {log: log.read_bytes() for log in folder.rglob(LOG)}


def one_family(preset: Preset, *controls: str) -> Preset:
    places = (preset.environments[0].model_copy(update={"families": ("law-0007",)}),)
    update = {"num_seeds": 1, "num_steps": 1, "num_test": 2, "controls": controls, "environments": places}
    return preset.model_copy(update=update)


def test_a_campaign_with_an_arm_that_never_began_is_not_extended(preset: Preset, tmp_path: Path) -> None:
    def stop_at_the_control(name: str, num_episodes: int) -> None:
        if name == "same again":
            raise KeyboardInterrupt

    small = one_family(preset, "same again")
    with pytest.raises(KeyboardInterrupt):
        run_campaign(small, actor="demo", reflector="demo", path=tmp_path, on_arm=stop_at_the_control)
    before = logs_in(tmp_path)
    with pytest.raises(RunFolderError, match=r"'same again' has not begun in .*give the command again that began it"):
        extend_campaign(tmp_path, 2)
    assert logs_in(tmp_path) == before
    run_campaign(small, actor="demo", reflector="demo", path=tmp_path)
    (extended,) = extend_campaign(tmp_path, 2)
    assert {report.looks for report in extended.reports} == {(1, 2)}


def test_a_refused_extension_of_a_campaign_changes_no_arm(preset: Preset, tmp_path: Path) -> None:
    run_campaign(one_family(preset, "no reflection"), actor="demo", reflector="demo", path=tmp_path)
    (manifest,) = tmp_path.glob(f"*/no-reflection/{MANIFEST}")
    content = manifest.read_text()
    manifest.write_text(content.replace("FixedReflector", "AnotherReflector"))
    assert manifest.read_text() != content
    before = logs_in(tmp_path)
    with pytest.raises(RunFolderError, match=r"cannot be resumed, because its fingerprint differs .*AnotherReflector"):
        extend_campaign(tmp_path, 2)
    assert logs_in(tmp_path) == before


def test_controls_that_were_added_later_get_the_new_seeds_too(preset: Preset, tmp_path: Path) -> None:
    small = one_family(preset)
    run_campaign(small, actor="demo", reflector="demo", path=tmp_path)
    run_campaign(small, actor="demo", reflector="demo", path=tmp_path, controls=("no reflection",))
    (extended,) = extend_campaign(tmp_path, 2)
    assert [report.arm for report in extended.reports] == ["demo", "no reflection"]
    assert {report.looks for report in extended.reports} == {(1, 2)}
    assert {len(report.prompts) for report in extended.reports} == {2}


def measured(num_seeds: int, gains: list[float]) -> list[Measurement]:
    def scored(seed: int, role: Role, score: float) -> Measurement:
        return Measurement(
            family="f", seed=seed, role=role, index=1, prompt="p", usage=Usage(), task_ids=tuple(map(str, range(50))),
            scores=(score,) * 50,
            num_steps=1, num_invalid=0, scripted=False,
        )  # fmt: skip

    roles = {Role.TEST_FIRST: 0.0, Role.TEST_CHOSEN: 1.0, Role.TEST_LAST: 1.0}
    return [scored(seed, role, share * gains[seed]) for seed in range(num_seeds) for role, share in roles.items()]


def test_after_a_second_look_the_words_follow_the_interval_for_any_number_of_looks() -> None:
    gains = [0.05, 0.25, 0.30, 0.10, 0.20, 0.02]
    config = EvaluationConfig(num_steps=1, num_test=50)
    once = build_report(config, measured(6, gains), arm="a", looks=(6,))
    twice = build_report(config, measured(6, gains), arm="b", looks=(3, 6))
    assert once.overall == twice.overall
    assert once.verdict.startswith("better than sp_0")
    assert twice.verdict.startswith("not shown to differ from sp_0")
    assert twice.gain_at_any_look == once.gain_at_any_look
    assert once.gain_at_any_look is not None
    assert f"[{once.gain_at_any_look.low:+.3f}, {once.gain_at_any_look.high:+.3f}]" in twice.verdict
    floor = build_report(config, measured(6, [0.0] * 6), arm="floor", looks=(6,))
    bounded = twice.gain_at_any_look_bounded
    expected = at_any_look_bounded(gains, bounds=(-1.0, 1.0))
    assert bounded is not None
    assert expected is not None
    assert (bounded.low, bounded.high) == pytest.approx((expected.low, expected.high))
    note = f"By the bounds of the scores alone the 95 % interval is [{bounded.low:+.3f}, {bounded.high:+.3f}]"
    of_comparison = compare([twice, floor])[0]
    assert of_comparison.difference_at_any_look_bounded is not None
    assert of_comparison.difference_at_any_look_bounded.high == pytest.approx(bounded.high)
    for looked_at in (twice, of_comparison):
        assert any(note in item for item in looked_at.notes)
    assert any(item.startswith("b against floor: ") for item in of_comparison.notes)
    assert not any(note in item for item in once.notes)
    assert compare([once, floor])[0].verdict == "a is better than floor"
    assert compare([twice, floor])[0].verdict.startswith("no difference shown between b and floor (looked at after")

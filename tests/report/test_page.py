"""The page as a file: what it says of each kind of run, and what it lets in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import sys
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest

from metagym.budget import Attempt, CallLog
from metagym.errors import ConfigError, MissingExtraError, RunFolderError
from metagym.evaluation import EvaluationConfig
from metagym.evaluation.comparison import compare
from metagym.evaluation.family_stream import evaluate_stream
from metagym.evaluation.store import read_report
from metagym.evaluation.variance import noise_sources, what_it_buys
from metagym.report import make_report
from metagym.report.learning_curves import MAX_PANELS
from metagym.report.page import SCRIPT
from metagym.runs import LOG, MANIFEST, RunFolder
from metagym.runs.times import TIMES, Session, Times
from metagym.types import Completion, Reflection, StopReason, Usage
from tests.conftest import MakeGates, make_task
from tests.report.conftest import Report, WriteRun, manifest, played


def words(page: str) -> str:
    """Return what stands on the page, without its script, style and payload."""
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def headlines(page: str) -> list[str]:
    return [" ".join(words(found).split()) for found in re.findall(r'<h\d class="headline">.*?</h\d>', page, re.DOTALL)]


# What it says -----------------------------------------------------------------------------------------


def test_a_single_run_is_shown_as_a_curve_and_not_as_an_effect(report: Report, learning: Path) -> None:
    page = report(learning)
    assert headlines(page) == ["Mean score from 0.00 to 1.00 over 3 meta-steps"]
    told = words(page)
    assert "3 meta-steps, 6 episodes. One meta-episode is one replicate" in told
    assert "the road is closed 1" in told
    assert "SCRIPTED" not in told


def test_an_evaluation_is_shown_with_its_interval_its_controls_and_both_fingerprints(
    report: Report, campaign: Path
) -> None:
    page = report(campaign)
    evaluated = read_report(campaign / "demo")
    gain = evaluated.overall.gain
    assert gain is not None
    (headline,) = headlines(page)
    assert headline.startswith(
        f"SCRIPTED demo is not shown to differ from sp_0: gain {gain.mean:+.3f}, 95 % interval ["
    )
    told = words(page)
    assert "would be found with 80 % power" in told
    assert "2 families, 3 seeds, 4 test tasks each; compared with 2 control arms" in told
    comparisons = compare([evaluated, read_report(campaign / "no-reflection"), read_report(campaign / "same-again")])
    for item in comparisons:
        assert item.verdict in told
    with RunFolder.open(campaign / "demo") as run:
        assert json.dumps(run.manifest.measurement, indent=2)[:60].split("\n")[1].strip() in told.replace("&#34;", '"')
    for source in noise_sources(evaluated):
        assert source.what in told.replace("&#39;", "'")
    for purchase in what_it_buys(evaluated):
        assert f"±{purchase.new_tasks:.3f}" in told
    assert told.count("SCRIPTED") > 8
    assert page.count('class="chart"') == 3
    assert page.count('class="heat"') == 2


def test_what_model_calls_used_is_shown_by_role_and_purpose(report: Report, learning: Path) -> None:
    usage = Usage(prompt_tokens=1_200, completion_tokens=34, cached_tokens=200, num_calls=1)
    attempt = Attempt(
        number=0, role="actor", purpose="learning", meta_step=0, outcome="whole", usage=usage, cost=0.25, working_s=90.0
    )
    log = CallLog(learning / "calls.jsonl")
    for change in (
        {},
        {"number": 1, "meta_step": 1, "retry": 1, "waiting_s": 2.5},
        {"number": 2, "role": "reflector", "outcome": "unknown", "usage": Usage(), "max_tokens": 99, "cost": 0.5},
    ):
        log.write(attempt.model_copy(update=change))
    log.close()
    told = words(report(learning))
    assert "actor, learning 2 2,400 400 68 0.5 3.0 min 1.5 min 2.5 s 1 0 0 0" in told
    assert "reflector, learning 0 0 0 0 0 + up to 0.5 1.5 min – 0.0 s 0 0 1 0" in told


def test_the_page_says_who_played_when_and_what_was_used(report: Report, learning: Path) -> None:
    begun = datetime(2026, 3, 1, 12, 0).astimezone()
    session = Session(started=begun, ended=begun + timedelta(hours=2))
    (learning / TIMES).write_text(Times(sessions=(session,)).model_dump_json())
    told = words(report(learning))
    head = told[: told.index("Learning curve")]
    assert "Reflector demo When started 2026-03-01 12:00, ended 14:00, took 2.0 h Used no model calls" in head


def test_runs_that_were_not_measured_alike_are_separate_and_the_reason_is_shown(
    report: Report, campaign: Path, make_gates: MakeGates, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(campaign / "demo", changed)
    about = json.loads((changed / MANIFEST).read_text())
    about["measurement"]["max_steps"] = 7
    (changed / MANIFEST).write_text(json.dumps(about))
    page = report(campaign / "demo", changed)
    assert len(headlines(page)) == 2
    assert "were not measured alike: max_steps (25 and 7)" in words(page)


def test_two_runs_of_one_name_are_called_by_their_folders(report: Report, campaign: Path, tmp_path: Path) -> None:
    shutil.copytree(campaign / "demo", tmp_path / "second")
    page = report(campaign / "demo", tmp_path / "second")
    assert headlines(page)[0].startswith(f"SCRIPTED {campaign / 'demo'} is not shown to differ from sp_0")
    assert f"{tmp_path / 'second'} 0.000 [−0." in words(page)
    assert "share their randomness: give them two names" in words(page)


def test_the_headline_of_a_stream_is_its_online_score(report: Report, make_gates: MakeGates, tmp_path: Path) -> None:
    import gymnasium

    config = EvaluationConfig(
        families=("law-0007", "law-0500"), num_steps=2, num_seeds=2, num_test=2, episodes_per_step=1
    )
    with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
        evaluate_stream(env, "demo", config=config, arm="demo", path=tmp_path / "stream")
    (headline,) = headlines(report(tmp_path / "stream"))
    assert headline.startswith("SCRIPTED demo: online score")
    (tmp_path / "stream" / "report.json").unlink()
    assert "The stream is not finished: there is no report.json yet." in words(report(tmp_path / "stream"))


# Odd runs ---------------------------------------------------------------------------------------------


def test_a_run_without_a_finished_meta_step_says_so(report: Report, tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run", manifest()) as run:
        run.record_episode(played(1))
    page = report(tmp_path / "run")
    assert headlines(page) == ["No meta-step is finished yet"]
    assert "1 episode in the log" in words(page)


def test_a_run_that_has_only_a_manifest_says_so(report: Report, tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", manifest()).close()
    assert headlines(report(tmp_path / "run")) == ["No meta-step is finished yet"]


def test_an_evaluation_without_a_measurement_says_so(report: Report, campaign: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(campaign / "demo" / MANIFEST, tmp_path / "run" / MANIFEST)
    assert "Nothing is measured yet" in words(report(tmp_path / "run"))


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.8, 0.95])
def test_an_evaluation_that_stopped_anywhere_is_shown_as_far_as_it_got(
    report: Report, campaign: Path, tmp_path: Path, share: float
) -> None:
    shutil.copytree(campaign, tmp_path / "part")
    (tmp_path / "part" / "demo" / "report.json").unlink()
    log = tmp_path / "part" / "demo" / LOG
    content = log.read_bytes()
    log.write_bytes(content[: int(len(content) * share)])
    page = report(tmp_path / "part")
    assert headlines(page)
    assert "is not finished" in words(page) or "Nothing is measured yet" in words(page)


def test_a_run_of_failures_only_says_that_there_is_no_score(report: Report, write_run: WriteRun) -> None:
    failed = {"score": None, "success": None, "stop_reason": StopReason.ERROR, "error": "out of power"}
    page = report(write_run([[played(number, **failed) for number in (1, 2)]]))
    assert "1 of 3 meta-steps" in words(page)
    assert headlines(page) == ["Every episode failed for infrastructure reasons: there is no score"]
    assert "out of power 2" in words(page)


def test_errors_are_counted_over_all_episodes_also_over_those_that_are_not_shown(
    report: Report, write_run: WriteRun
) -> None:
    failed = {"score": None, "success": None, "stop_reason": StopReason.ERROR, "error": "out of power"}
    run = write_run([[played(number, **failed) for number in range(4)]])
    assert "Infrastructure errors of all recorded episodes error episodes out of power 4" in words(
        report(run, max_episodes=1)
    )


def test_without_a_log_of_calls_the_last_reflection_counts_in_the_tokens(report: Report, learning: Path) -> None:
    usage = Usage(prompt_tokens=70, completion_tokens=5, num_calls=1)
    with RunFolder.open(learning, writing=True) as run:
        run.put(("", 2), Reflection(prompt="Be kind.", completion=Completion(text="Be kind.", usage=usage)))
    assert "reflector 1 70 0 5" in words(report(learning))


@pytest.mark.parametrize(("num_families", "told"), [(MAX_PANELS - 1, False), (MAX_PANELS, True)])
def test_families_without_a_curve_are_counted(
    report: Report, write_run: WriteRun, num_families: int, told: bool
) -> None:
    tasks = [make_task(f"law-{number:04d}/1", family=f"law-{number:04d}") for number in range(num_families)]
    page = report(write_run([[played(1, episode={"task": task}) for task in tasks]]))
    assert page.count('class="chart"') == MAX_PANELS
    assert ("1 further family not drawn." in words(page)) is told


def test_a_run_of_an_older_schema_says_which_and_what_to_do(report: Report, learning: Path) -> None:
    about = json.loads((learning / MANIFEST).read_text())
    about["schema_version"], about["measurement"]["metagym"] = 0, "0.0.7"
    (learning / MANIFEST).write_text(json.dumps(about))
    told = words(report(learning))
    assert "This folder cannot be read" in told
    assert "has schema version 0, this metagym reads 1. Install the version of metagym that wrote it." in told
    assert "it was written by metagym 0.0.7" in told


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (MANIFEST, None, "Expected a run folder"),
        (MANIFEST, b"{", "is broken"),
        (MANIFEST, b"[]", "is broken"),
        (LOG, b"nonsense\n{}\n", "Line 1 of"),
        (LOG, b'{"kind":"episode","record":{"schema_version":0}}\n{}\n', "schema_version is 0, this metagym reads 1"),
        ("calls.jsonl", b"nonsense\n{}\n", "Line 1 of"),
    ],
)
def test_a_folder_that_is_broken_says_where(
    report: Report, learning: Path, name: str, content: bytes | None, told: str
) -> None:
    if content is None:
        (learning / name).unlink()
    else:
        (learning / name).write_bytes(content)
    assert told in words(report(learning))


def test_one_broken_run_does_not_hide_the_others(report: Report, learning: Path, with_maps: Path) -> None:
    (with_maps / LOG).write_bytes(b"nonsense\n{}\n")
    told = headlines(report(learning, with_maps))
    assert told == ["Mean score from 0.00 to 1.00 over 3 meta-steps", "This folder cannot be read"]


def test_a_folder_without_a_run_gives_a_page_and_a_place_without_anything_an_error(
    report: Report, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert "There is no run here" in words(report(tmp_path / "empty"))
    with pytest.raises(RunFolderError, match=r"Expected a run folder, or a folder of them, at .*nowhere"):
        report(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"Expected a run folder at .*file, got a file"):
        report(tmp_path / "file")
    with pytest.raises(ConfigError, match=r"Expected at least one run folder, got nothing"):
        report()


def test_a_file_that_cannot_be_written_is_an_error(report: Report, learning: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"Expected a file that can be written at"):
        make_report([learning], tmp_path / "file" / "report.html")


def test_a_place_that_is_a_folder_is_refused_and_left_alone(report: Report, learning: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.parent.iterdir())
    for place in (tmp_path, "", "."):
        with pytest.raises(RunFolderError, match=r"Expected the HTML file to write, got the folder .*report.html"):
            make_report([learning], place)
    assert sorted(tmp_path.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["report.svg", "report.pdf", "report"])
def test_a_report_is_written_to_an_html_file_only(report: Report, learning: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"Expected an HTML file to write .*{name}. To draw a figure: metagym plot"):
        make_report([learning], tmp_path / name)
    assert not (tmp_path / name).exists()
    assert make_report([learning], tmp_path / "report.HTM").path.exists()


def test_a_name_that_is_too_long_names_nothing(report: Report, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"nothing exists there"):
        report(tmp_path / ("x" * 300))


# What it lets in --------------------------------------------------------------------------------------


def test_the_policy_lets_in_the_pages_own_script_and_style_and_nothing_else(report: Report, learning: Path) -> None:
    page = report(learning)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    allowed = policy[1].replace("&#39;", "'")
    assert allowed.startswith(f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}';")
    assert allowed.endswith("; img-src data:; base-uri 'none'; form-action 'none'")
    assert "unsafe" not in allowed
    assert not re.search(
        r"<\w[^>]*\s(on\w+|style|src)=", re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    )
    assert not re.search(r"(?:href|url|@import)[=(\"' ]+https?:", page)


def test_the_same_runs_give_the_same_bytes(report: Report, campaign: Path) -> None:
    assert report(campaign) == report(campaign)


def test_the_package_carries_its_templates_style_and_script() -> None:
    """CI runs this on the built wheel too."""
    folder = resources.files("metagym.report")
    for name in ("templates/page.html.jinja", "templates/group.html.jinja", "static/report.css"):
        assert folder.joinpath(name).is_file(), name
    parts = {part.name: part.read_text(encoding="utf-8") for part in folder.joinpath("static/script").iterdir()}
    assert set(parts) == {f"{name}.js" for name in SCRIPT}
    assert not [name for name, text in parts.items() if "</script" in text]
    assert "</style" not in folder.joinpath("static/report.css").read_text(encoding="utf-8")


def test_without_jinja2_the_extra_is_named(learning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"'jinja2', which is not installed. Run: pip install"):
        make_report([learning], tmp_path / "report.html")

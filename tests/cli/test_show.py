"""`metagym show`, `runs`, `verify` and `export`: what run folders hold."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from metagym.budget import Ledger
from metagym.cli import show
from metagym.errors import ConfigError, RunFolderError
from metagym.runs import LOG
from metagym.runs.times import TIMES, Session, Times
from metagym.types import Usage
from tests.cli.conftest import Metagym, invoke, rewards_in
from tests.conftest import Serve
from tests.test_spending_limits import respond


def test_show_prints_the_run(command: Metagym) -> None:
    demo = command("demo", "-n", 3, "--out", "mine")
    done = command("show", "mine")
    assert rewards_in(done.out) == rewards_in(demo.out)
    assert len(rewards_in(done.out)) == 3
    assert "15 episodes in mine" in done.out
    assert "SCRIPTED" in done.out


def test_the_prompt_after_the_last_reflection_is_printed_unplayed(command: Metagym) -> None:
    done = command("demo", "-n", 2, "--out", "mine")
    printed = json.loads(command("show", "mine", "--json").out)
    assert (len(printed["rewards"]), len(printed["prompts"])) == (2, 3)
    assert command("show", "mine").out == done.out
    assert f"The prompt after the last reflection\n{printed['prompts'][-1]}" in command("show", "mine", "--details").out


def test_show_prints_the_change_of_the_prompt_instead_of_two_prompts(command: Metagym) -> None:
    done = command("demo", "-n", 3, "--out", "mine")
    first, *_, last = json.loads(command("show", "mine", "--json").out)["prompts"]
    added = [line for line in last.splitlines() if line not in first.splitlines()]
    assert added
    assert all(f"\n+ {line}\n" in done.out for line in added)
    assert done.out.count(first) == 1
    same = command("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", "fixed", "-n", 1, "--out", "same")
    assert f"\nThe prompt after the last reflection is the first prompt\n  {first}\n" in same.out


def test_show_and_runs_say_who_played_when_and_what_was_used(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    options = ("--option", "episodes_per_step=1", "--steps", 1, "--out", "runs/a")
    command("run", "MetaGym/Gates-v0", "--actor", f"my-model@{server.base_url}", *options)
    begun = datetime(2026, 3, 1, 12, 0).astimezone()
    session = Session(started=begun, ended=begun + timedelta(seconds=3_725))
    (Path("runs/a") / TIMES).write_text(Times(sessions=(session,)).model_dump_json())
    shown, row = command("show", "runs/a").out, json.loads(command("runs", "--json").out)[0]
    assert shown.startswith(
        "actor my-model, reflector my-model\nstarted 2026-03-01 12:00, ended 13:02, took 62.1 min; "
    )
    assert f"took 62.1 min; {len(server.requests)} calls, {row['num_tokens']:,} tokens" in shown
    assert row["num_tokens"] > 0
    assert (row["state"], row["reflector"], row["num_calls"]) == ("finished", "my-model", len(server.requests))
    assert "took 62.1 min" in command("runs").out


def test_show_of_an_evaluation_begins_with_the_verdict_and_keeps_its_tables_behind_details(command: Metagym) -> None:
    protocol = ("--families", "law-0007", "--seeds", 2, "--steps", 1, "--option", "num_test=4", "--control", "none")
    command("evaluate", "MetaGym/Gates-v0", "--actor", "demo", *protocol, "--option", "num_validation=4", "--out", "e")
    (arm,) = [row["run"] for row in json.loads(command("runs", "e", "--json").out)]
    short, whole = command("show", arm).out, command("show", arm, "--details").out
    assert short.splitlines()[2].startswith("verdict: ")
    assert ("┃" in short, "┃" in whole) == (False, True)
    listed = command("runs", "e").out
    assert listed.startswith(f"{arm}  finished  score ")
    assert short.splitlines()[2].removeprefix("verdict: ") in listed
    assert command("show", arm, "--episode", 1).out.count("Goal:") == 1
    assert "--episode must be from 0 to" in command("show", arm, "--episode", 9_999).err
    clean = command("show", arm, "--copies")
    assert (clean.out, clean.code) == ("0 of 2 last prompts copy names or sentences of their episodes.\n", 0)
    log = Path(arm, LOG)
    log.write_text(log.read_text().replace('"names":[]', '"names":["shelf 3"]', 1))
    copying = command("show", arm, "--copies")
    assert "seed 0: 'shelf 3'" in copying.out
    assert copying.code == 1


@pytest.mark.parametrize("num_episodes", [1, 20])
def test_show_of_an_evaluation_that_was_stopped_says_that_it_is_unfinished(command: Metagym, num_episodes: int) -> None:
    protocol = ("--families", "law-0007", "--seeds", 2, "--steps", 1, "--control", "none", "--out", "e")
    command("evaluate", "MetaGym/Gates-v0", "--actor", "demo", *protocol, "--budget", f"episodes={num_episodes}")
    for option in ((), ("--details",)):
        shown = command("show", "e/gates-v0-k5/demo", *option)
        assert shown.code == 0
        assert "UNFINISHED: 0 of 2 meta-episodes are tested." in shown.out


def test_show_prints_the_episodes_of_a_meta_step(command: Metagym) -> None:
    command("demo", "-n", 2, "--out", "mine")
    done = command("show", "mine", "--step", 1)
    assert "=== Episode 5 of 5 ===" in done.out
    assert "[Step 1] Observation: You stand before the" in done.out


def test_show_of_a_missing_meta_step_is_a_sentence(command: Metagym) -> None:
    command("demo", "-n", 2, "--out", "mine")
    done = command("show", "mine", "--step", 2)
    assert done.code == 1
    assert "--step must be from 0 to 1, got 2" in done.err


def test_show_of_a_run_without_a_meta_step_says_so(command: Metagym) -> None:
    command("demo", "-n", 1, "--out", "mine")
    (Path("mine") / LOG).write_bytes(b"")
    assert "No meta-step was finished." in command("show", "mine").out
    done = command("show", "mine", "--step", 0)
    assert done.code == 1
    assert "No meta-step was finished" in done.err


@pytest.mark.parametrize("name", ["show", "resume"])
def test_a_folder_without_a_run_is_a_sentence(command: Metagym, name: str) -> None:
    done = command(name, "nowhere")
    assert done.code == 1
    assert "Error: Expected a run folder" in done.err


def test_demo_resume_show_and_verify_print_json(command: Metagym) -> None:
    printed = json.loads(command("demo", "-n", 2, "--out", "mine", "--json").out)
    assert (printed["run"], printed["scripted"], len(printed["rewards"])) == ("mine", True, 2)
    assert (printed["num_failed"], printed["num_episodes"]) == ([0, 0], 10)
    assert json.loads(command("resume", "mine", "--json").out) == printed
    assert json.loads(command("show", "mine", "--json").out) == printed
    assert json.loads(command("show", "mine", "--step", 1, "--json").out)["prompt"] == printed["prompts"][1]
    assert json.loads(command("verify", "mine", "--json").out)["differences"] == []


def test_what_was_spent_is_shown_by_role_and_purpose(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    model = {"model": "m", "base_url": server.base_url, "client": {"prices": {"prompt": 1.0, "completion": 2.0}}}
    Path("model.json").write_text(json.dumps(model), encoding="utf-8")
    options = ("--option", "episodes_per_step=2", "--steps", 3, "--out", "run")
    assert command("run", "MetaGym/Gates-v0", "--actor", "model.json", *options).code == 0
    shown = command("show", "run").out
    rows = re.findall(r"^(actor|reflector), learning: ([\d,]+) calls?, [\d,]+ prompt tokens", shown, re.MULTILINE)
    assert sum(int(number.replace(",", "")) for _, number in rows) == len(server.requests)
    assert re.search(r", cost 0\.\d{4}, waited \d+ s, worked \d+ s$", shown, re.MULTILINE)


def test_export_writes_episodes_as_atif_and_wants_a_format(command: Metagym) -> None:
    command("demo", "-n", 2, "--out", "mine")
    assert "10 episodes in atif" in invoke("export", "mine", "--atif", "atif")
    with pytest.raises(ConfigError, match="Say what to write"):
        invoke("export", "mine")


def test_no_number_of_what_was_spent_is_cut_on_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    usage = Usage(num_calls=12_345, prompt_tokens=115_678_901, cached_tokens=90_123_456, completion_tokens=8_765_432)
    ledger = Ledger()
    spent = ledger.spent().model_copy(update={"usage": usage, "cost": 1234.5678, "max_cost": 1234.5678})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(show, "_spending", lambda run: [("reflector", "learning", spent)])
        show.print_spending(Path("run"), to=Console(width=80, force_terminal=True, color_system=None))
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in printed.splitlines())
    for number in ("12,345", "115,678,901", "90,123,456", "8,765,432", "1234.5678"):
        assert number in printed


def test_one_episode_of_a_meta_step_is_shown(command: Metagym) -> None:
    command("demo", "-n", 2, "--out", "mine")
    one, both = command("show", "mine", "--step", 1, "--episode", 4).out, command("show", "mine", "--step", 1).out
    assert one.count("Goal:") == 1 < both.count("Goal:")
    assert one.startswith("Goal:")  # no number: `--episode` counts from 0, and the titles of a batch from 1
    assert json.loads(command("show", "mine", "--episode", 0, "--json").out)["episode"]["meta_step"] == 0
    assert "--episode must be from 0 to 4, got 5" in command("show", "mine", "--episode", 5).err


def test_the_list_of_runs_names_the_model_and_the_day(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    options = ("--option", "episodes_per_step=1", "--steps", 1)
    command("run", "MetaGym/Gates-v0", "--actor", f"my-model@{server.base_url}", *options, "--out", "runs/a")
    command("demo", "-n", 1, "--out", "runs/b")
    rows = {row["run"]: row for row in json.loads(command("runs", "--json").out)}
    assert [rows[f"runs/{name}"]["model"] for name in "ab"] == ["my-model", "demo"]
    written = datetime.fromtimestamp(Path("runs/a/manifest.json").stat().st_mtime)
    assert rows["runs/a"]["started"].startswith(f"{written:%Y-%m-%dT%H:%M}")
    assert f"{written:%Y-%m-%d %H:%M}" in command("runs").out


@pytest.mark.parametrize("options", [("--parquet", "no/x.parquet"), ("--parquet", "."), ("--atif", "file")])
def test_an_export_to_a_place_that_cannot_be_written_says_so(command: Metagym, options: tuple[str, str]) -> None:
    if options[0] == "--parquet":
        pytest.importorskip("pyarrow", reason="needs the extra report")
    fields = ("num_test=1", "num_validation=1", "control=none")
    run = ("evaluate", "MetaGym/Gates-v0", "--actor", "demo", "--families", "law-0007", "--seeds", 1, "--steps", 1)
    command(*run, *(f"--option={field}" for field in fields), "--out", "out")
    Path("file").write_text("")
    with pytest.raises(RunFolderError, match="Expected a place that can be written at"):
        invoke("export", "out/gates-v0-k5/demo", *options)


def test_the_scores_of_a_single_run_are_not_exported(command: Metagym) -> None:
    command("demo", "-n", 1, "--out", "mine")
    done = command("export", "mine", "--parquet", "scores.parquet")
    assert (done.code, "Expected an evaluation, got a single run" in done.err) == (1, True)
    assert not Path("scores.parquet").exists()

"""`metagym evaluate` and `compare`; `metagym arena` is in test_arena.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from metagym.cli import console
from metagym.errors import ConfigError, UnknownNameError
from metagym.evaluation.preset import load_preset, preset_names
from tests.cli.conftest import Metagym, invoke

SMALL = """
num_steps = 2
episodes_per_step = [3]
num_seeds = 2
num_validation = 3
num_test = 4
controls = ["same again", "no reflection"]

[[environments]]
id = "MetaGym/Gates-v0"
families = ["law-0007"]
"""


@pytest.fixture
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "_width", 200)
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_evaluate_prints_the_report_and_the_comparisons_and_compare_finds_them_again(preset: Path) -> None:
    printed = invoke("evaluate", "--preset", preset, "--actor", "demo", "--out", "out")
    assert printed.count("verdict: ") == 3
    assert "SCRIPTED" in printed
    assert "│" not in printed
    assert "Tables: metagym show out/gates-v0-k3/demo --details metagym compare out/gates-v0-k3" in printed
    assert "demo against each" in invoke("compare", "out/gates-v0-k3")
    assert invoke("evaluate", "--preset", preset, "--actor", "demo", "--out", "out") == printed
    compared = invoke("compare", "out/gates-v0-k3/demo", "out/gates-v0-k3/no-reflection", "--json")
    assert json.loads(compared)[0]["second"] == "no reflection"
    compared = json.loads(invoke("compare", "out", "--json"))  # its own arm against each control, without tuned prompts
    assert [(item["first"], item["second"]) for item in compared] == [("demo", "no reflection"), ("demo", "same again")]
    shown = invoke("show", "out/gates-v0-k3/demo", "--details")
    assert "demo: test scores, 2 seeds" in shown
    assert "metagym report out/gates-v0-k3/demo -o report.html" in shown
    assert json.loads(invoke("show", "out/gates-v0-k3/demo", "--json"))["arm"] == "demo"
    with pytest.raises(ConfigError, match=r"is an evaluation, many meta-episodes rather than one"):
        invoke("show", "out/gates-v0-k3/demo", "--step", 0)
    listed = json.loads(invoke("runs", "out", "--json"))
    assert [row["arm"] for row in listed] == ["demo", "no reflection", "same again"]
    assert all(row["finished"] and row["scripted"] for row in listed)
    assert "same again" in invoke("runs", "out")
    with pytest.raises(ConfigError, match=r"give the command again that began it"):
        invoke("resume", "out/gates-v0-k3/demo")


def test_evaluate_json_and_the_stream(preset: Path) -> None:
    printed = invoke("evaluate", "--preset", preset, "--actor", "demo", "--control", "none", "--json", "--out", "a")
    assert len(json.loads(printed[printed.index("[") :])) == 1  # `invoke` returns the plan on the error stream, too
    preset.write_text(SMALL.replace("num_steps", 'protocol = "stream"\nnum_steps').replace("[3]", "[1]"))
    assert "test scores along the stream" in invoke("evaluate", "--preset", preset, "--actor", "demo", "--out", "b")


def test_json_is_one_list_of_all_reports_and_of_what_was_carried_over(command: Metagym) -> None:
    fields = ("num_test=2", "num_validation=2", "episodes_per_step=[2, 3]", "control=none")
    evaluate = ("evaluate", "MetaGym/Gates-v0", "--families", "law-0007", "--seeds", 2, "--steps", 1, "--out", "out")
    options = ("--actor", "demo", *(f"--option={field}" for field in fields), "--test-on", "MetaGym/Gates-v0:law-0900")
    printed = json.loads(command(*evaluate, *options, "--json").out)
    assert [item["config"]["episodes_per_step"] for item in printed[:2]] == [2, 3]
    assert [item["scored_in"] for item in printed[2:]] == [["law-0900"], ["law-0900"]]
    extended = json.loads(command("extend", "out", "--seeds", 3, "--json").out)
    assert [(item["config"]["episodes_per_step"], item["looks"]) for item in extended] == [(2, [2, 3]), (3, [2, 3])]


def test_what_was_learned_on_one_world_is_scored_on_another_and_read_again(preset: Path) -> None:
    command = ("evaluate", "--train-on", preset, "--actor", "demo", "--out", "out", "--test-on")
    printed = invoke(*command, "MetaGym/Questions-v0")
    assert "learned in law-0007; scored in MetaGym/Questions-v0" in printed
    assert "plan: MetaGym/Questions-v0, 2 families, 2 seeds, 3 arms" in printed
    assert "at most 96 episodes, 0 reflections" in printed
    assert "verdict: it is not shown that what demo learned carries over" in printed
    (file,) = Path("out/gates-v0-k3").glob("transfer-*.json")
    kept = json.loads(file.read_text())
    assert list(kept["gains"]) == ["demo", "same again", "no reflection"]
    assert list(kept["differences"]) == ["same again", "no reflection"]
    assert kept["scripted"]
    file.write_text(json.dumps(kept | {"verdict": "kept"}))
    assert "verdict: kept" in invoke(*command, "MetaGym/Questions-v0")
    assert "scored in MetaGym/Gates-v0:law-0900" in invoke(*command, "MetaGym/Gates-v0:law-0900")
    preset.write_text(SMALL.replace("num_steps", 'protocol = "stream"\nnum_steps').replace("[3]", "[1]"))
    with pytest.raises(ConfigError, match="--test-on expects a protocol of evaluations, got a stream"):
        invoke(*command, "MetaGym/Questions-v0")


def test_the_list_of_runs_cuts_no_name_off_on_a_narrow_terminal(preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    invoke("evaluate", "--preset", preset, "--actor", "demo", "--out", "a-folder-with-quite-a-long-name")
    monkeypatch.setattr(console, "_width", 80)
    assert "…" not in invoke("runs", ".")
    assert "No run in none. Name the folder that holds them: metagym runs FOLDER" in invoke("runs", "none")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ('reflector_sampling={"temperature": 0}', "--reflector-sampling expects NAME=VALUE with commas between"),
        ("test_on=3", "Unknown meta-environment '3': expected one of 'MetaGym/ALFWorld-v0'"),
    ],
)
def test_an_option_that_is_a_text_is_not_read_as_json(preset: Path, option: str, told: str) -> None:
    actor = ("--actor", "model@http://localhost:1/v1")
    with pytest.raises(ConfigError, match=re.escape(told)):
        invoke("evaluate", "--preset", preset, *actor, "--dry-run", "--option", option)


def test_one_seed_is_printed_in_the_singular(preset: Path) -> None:
    preset.write_text(SMALL.replace("num_seeds = 2", "num_seeds = 1"))
    printed = invoke("evaluate", "--preset", preset, "--actor", "demo", "--out", "out")
    assert "(1 family, 1 seed)" in printed
    assert "1 seeds" not in printed


def test_a_measurement_wants_an_explicit_actor_and_reflector() -> None:
    with pytest.raises(ConfigError, match=r"No actor is named, and a script never plays without being"):
        invoke("evaluate", "--preset", "ict-small")
    with pytest.raises(ConfigError, match=r"No reflector is named"):
        invoke("evaluate", "--preset", "ict-small", "--actor", "random")
    with pytest.raises(ConfigError, match=r"--endpoint must be 'chosen' or 'last', got 'best'"):
        invoke("compare", "a", "b", "--endpoint", "best")


def test_the_shipped_presets_are_complete() -> None:
    assert preset_names() == ["arena-small", "ict", "ict-paper-line", "ict-small", "stream"]
    for name in preset_names():
        assert load_preset(name).configs()
    ict = load_preset("ict")
    assert [environment.id for environment in ict.environments] == ["MetaGym/ALFWorld-v0", "MetaGym/MiniHack-v0"]
    assert ict.environments[0].families == ("pick_cool_then_place_in_recep", "pick_two_obj_and_place")
    assert (ict.num_steps, ict.episodes_per_step, ict.num_seeds) == (10, (3, 5), 10)
    assert ict.guessed
    for environment in ict.environments:
        assert not set(environment.families) & set(environment.train_families)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("num_steps = ", r"Expected a preset in TOML at .*small.toml"),
        (SMALL + "colour = 1", r"Unknown field of the preset .*small.toml 'environments.0.colour'"),
        (SMALL.replace("num_seeds = 2", "num_seeds = 0"), r"Field of the preset .*small.toml 'num_seeds' got 0"),
        (SMALL.replace("law-0007", "law-9999"), r"Unknown family 'law-9999'"),
        (SMALL.replace("Gates-v0", "Gatse-v0"), r"Unknown meta-environment 'MetaGym/Gatse-v0'.* Did you mean"),
        (SMALL.replace("no reflection", "no reflexion"), r"Unknown control 'no reflexion'"),
    ],
)
def test_a_wrong_preset_is_refused_before_anything_is_played(preset: Path, text: str, problem: str) -> None:
    preset.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        invoke("evaluate", "--preset", preset, "--actor", "demo", "--out", "out")
    assert not Path("out").exists()


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown preset 'itc': expected one of 'arena-small', 'ict', "):
        load_preset("itc")
    with pytest.raises(ConfigError, match=r"Expected a preset in TOML at missing.toml"):
        load_preset("missing.toml")


def test_control_none_is_given_alone(preset: Path) -> None:
    with pytest.raises(ConfigError, match="--control none leaves no control arms, so it is given alone"):
        invoke("evaluate", "--preset", preset, "--actor", "demo", "--control", "none", "--control", "same again")


def test_a_folder_is_a_reflector_by_its_spec(preset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"Expected a reflector's spec \(a JSON mapping\) in .*reflector.json"):
        invoke("evaluate", "--preset", preset, "--actor", "demo", "--reflector", folder, "--out", "out")
    (folder / "reflector.json").write_text('"fixed"')
    assert "not shown to differ" in invoke(
        "evaluate", "--preset", preset, "--actor", "demo", "--reflector", folder, "--control", "none", "--out", "out"
    )


def test_evaluate_takes_a_method_by_name_and_names_the_arm_after_it(preset: Path) -> None:
    arguments = ("--reflector", "training_free_grpo_style:demo", "--control", "none")
    printed = invoke("evaluate", "--preset", preset, "--actor", "demo", *arguments, "--out", "out")
    assert "training_free_grpo_style, test scores: sp_0 " in printed
    assert (Path("out") / "gates-v0-k3" / "training_free_grpo_style" / "report.json").exists()

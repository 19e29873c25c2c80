"""The reference results are what their cassettes play, without a model, and the page shows exactly that."""

from __future__ import annotations

import importlib.util
import json
import lzma
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from statistics import fmean

import pytest

from metagym.evaluation.campaign_folder import folder_name
from metagym.models import Cassette
from metagym.runs.verification import verify_run
from metagym.statistics import holm
from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks"
PAGE = ROOT / "docs" / "results" / "reference.md"
README = ROOT / "README.md"
PLAYED = {
    **{
        f"prompts-{world.lower()}-{size}": ("--worlds", world)
        for world in ("Gates", "ALFWorld", "MiniHack", "Tools")
        for size in ("1.5b", "0.5b", "135m")
    },
    "prompts-gates-1.5b-unheld": ("--worlds", "Gates", "--constrain", "off"),
    "prompts-gates-1.5b-react": ("--worlds", "Gates", "--reply-format", "react"),
}
AGAINST = dict.fromkeys(["prompts-gates-1.5b-unheld", "prompts-gates-1.5b-react"], "prompts-gates-1.5b")
"""Cassettes of another form of replies, and the one that each is compared with."""
REFLECTORS = "reflectors-gates-1.5b"
TRANSFERS = {"transfer-gates-1.5b-next-law": ("--law", "next"), "transfer-gates-0.5b-own-law": ("--law", "own")}
NEEDS = {"ALFWorld": "alfworld", "MiniHack": "nle", "Tools": "bfcl_eval"}


def played(name: str, *more: str) -> str:
    script = [sys.executable, str(FOLDER / "reference_prompts.py"), str(FOLDER / "cassettes" / f"{name}.xz")]
    return subprocess.run([*script, *PLAYED[name], *more], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "name", [name if name == "prompts-gates-1.5b" else pytest.param(name, marks=pytest.mark.slow) for name in PLAYED]
)
def test_a_cassette_plays_the_table_of_the_page(name: str, tmp_path: Path) -> None:
    package = NEEDS.get(PLAYED[name][1])
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"needs the package {package}")
    episodes, others = tmp_path / "episodes.jsonl", tmp_path / "others.jsonl"
    more = []
    if name in AGAINST:
        played(AGAINST[name], "--out", str(others))
        more = ["--against", str(others)]
    printed = played(name, "--out", str(episodes), *more)
    assert printed in PAGE.read_text(encoding="utf-8")
    told = [json.loads(line) for line in episodes.read_text(encoding="utf-8").splitlines()]
    for row in printed.partition("\n\n")[0].splitlines()[2:]:
        _, _, world, prompt, size, score, *_ = (cell.strip() for cell in row.split("|"))
        scores = [one["episode"]["score"] for one in told if (one["world"], one["prompt"]) == (world, prompt)]
        assert (size.split(" / ")[1], score) == (str(len(scores)), f"{fmean(scores):.3f}")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Question (b), played again: its table, and the arena's folder."""
    cassette, out = FOLDER / "cassettes" / f"{REFLECTORS}.xz", tmp_path_factory.mktemp("learned") / "arena"
    script = [sys.executable, str(FOLDER / "reference_reflectors.py"), str(cassette), str(out)]
    return subprocess.run(script, capture_output=True, text=True, check=True).stdout, out


@pytest.mark.slow
def test_the_reflectors_play_the_table_of_the_page(learned: tuple[str, Path]) -> None:
    table, out = learned
    assert table in PAGE.read_text(encoding="utf-8")
    for row in table.splitlines()[2:]:
        arm, laws, score, *_ = (cell.strip() for cell in row.strip("|").split("|"))
        lines = (out / "gates-v0-k4" / folder_name(arm) / "log.jsonl").read_text(encoding="utf-8").splitlines()
        episodes = [told["record"] for told in map(json.loads, lines) if told["kind"] == "episode"]
        scores = [one["score"] for one in episodes if one["episode"]["arm"].endswith("/test chosen")]
        assert (len(scores), f"{fmean(scores):.3f}") == (8 * int(laws), score)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFERS)
def test_the_last_prompts_play_the_table_of_the_page_elsewhere(name: str, learned: tuple[str, Path]) -> None:
    cassette = FOLDER / "cassettes" / f"{name}.xz"
    script = [sys.executable, str(FOLDER / "reference_transfer.py"), str(cassette), str(learned[1]), *TRANSFERS[name]]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert done.stdout in PAGE.read_text(encoding="utf-8")


def test_the_page_corrects_the_primary_comparisons_for_the_number_of_worlds() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("\n## (a)")[2].partition("\n## (b)")[0]
    rows = re.findall(r"^\| qwen2.5-coder-1.5b \| \w+ \| right \|.*\| ([\d.]+) \|$", text, re.M)
    told = [float(p) for p in re.findall(r"\(p = ([\d.]+?)(?: by Holm[^)]*)?\)", text)]
    assert told == [pytest.approx(p, abs=0.002) for p in holm([float(row) for row in rows])]


def test_the_readme_shows_figures_of_the_page() -> None:
    table = PAGE.read_text(encoding="utf-8")
    _, _, after = README.read_text(encoding="utf-8").partition("\n## What a language model did\n")
    figures = re.findall(r"[+-]?\.\d{3}", after.partition("\n## ")[0])
    assert len(figures) == 21
    for figure in figures:
        assert figure.replace(".", "0.") in table


def test_the_environment_answers_the_commands_of_the_example_run_as_it_did() -> None:
    report = verify_run(PAGE.with_name("example_run"))
    assert (report.num_episodes, report.differences) == (16, ())


@pytest.mark.parametrize("name", [REFLECTORS, *TRANSFERS])
def test_the_replies_are_whole_and_of_one_model(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(lzma.decompress((FOLDER / "cassettes" / f"{name}.xz").read_bytes()))
    with closing(Cassette(path, mode="replay")) as cassette:
        assert cassette.damaged() == []
        models = [*cassette.models("actor"), *cassette.models("reflector")]
    assert {item["sha256"][:12] for item in models} == {"1d9614638d18" if "0.5b" in name else "cc324af070c2"}


def test_every_cassette_is_played() -> None:
    assert {path.stem for path in (FOLDER / "cassettes").iterdir()} == {*PLAYED, REFLECTORS, *TRANSFERS}
    assert sum(path.stat().st_size for path in (FOLDER / "cassettes").iterdir()) < 5_000_000


def test_the_page_of_the_learning_run_shows_what_its_folder_holds() -> None:
    folder = PAGE.with_name("learning_run")
    script = [sys.executable, str(FOLDER / "learning_run.py"), str(folder)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in folder.with_suffix(".md").read_text(encoding="utf-8")
    for file in folder.glob("*/report.json"):
        lines = (file.parent / "trained" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["reward"] for line in lines] == json.loads(file.read_text(encoding="utf-8"))["rewards"]

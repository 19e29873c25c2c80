"""`--out`: a folder that holds records of another kind is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from metagym.cli.out_folder import Kind, check_out
from metagym.errors import ConfigError
from tests.cli.conftest import Metagym

FILES: dict[Kind, str] = {
    "run": "manifest.json",
    "evaluation": "campaign.json",
    "arena": "gates-v0-k5/arena.json",
    "collection": "loops/0000/manifest.json",
    "gate": "replies.sqlite",
    "runs": "gates-v0-k5/ict/manifest.json",
}
"""A file that shows the kind of the records in a folder."""


@pytest.mark.parametrize("kind", ["run", "evaluation", "arena", "collection", "gate"])
@pytest.mark.parametrize("held", FILES)
def test_a_folder_with_records_of_another_kind_is_refused(tmp_path: Path, held: Kind, kind: Kind) -> None:
    (tmp_path / FILES[held]).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / FILES[held]).write_text("{}")
    if held == kind or (held, kind) in {("runs", "evaluation"), ("runs", "arena")}:
        assert check_out(tmp_path, kind) == tmp_path
    else:
        with pytest.raises(ConfigError, match=r"would mix with it: name another --out"):
            check_out(tmp_path, kind)


@pytest.mark.parametrize("kind", ["run", "evaluation", "arena", "collection", "gate"])
def test_a_folder_without_records_is_taken(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert check_out(tmp_path, kind) == tmp_path
    assert check_out(tmp_path / "new", kind) == tmp_path / "new"


@pytest.mark.parametrize(
    ("arguments", "marker", "problem"),
    [
        (("run", "MetaGym/Gates-v0"), "campaign.json", "out holds an evaluation, and a run would mix with it"),
        (("demo",), "campaign.json", "out holds an evaluation, and a run would mix with it"),
        (("evaluate", "ict-small"), "manifest.json", "out holds a run, and an evaluation would mix with it"),
        (("arena", "ict"), "campaign.json", "out holds an evaluation, and an arena would mix with it"),
        (("train", "collect", "MetaGym/Gates-v0"), "manifest.json", "out holds a run, and collected experience would"),
    ],
)
def test_each_command_checks_its_folder_before_it_starts(
    command: Metagym, arguments: tuple[str, ...], marker: str, problem: str
) -> None:
    Path("out").mkdir()
    Path("out", marker).write_text("{}")
    done = command(*arguments, *(() if arguments == ("demo",) else ("--actor", "demo")), "--out", "out")
    assert (done.code, problem in done.err) == (1, True)
    assert [file.name for file in Path("out").iterdir()] == [marker]

"""README's Python blocks run, and its file map is the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, SRC


@pytest.mark.filterwarnings("ignore::metagym.actor.ScriptedActorWarning")
def test_the_readmes_python_blocks_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("README.md is not written yet")
    blocks = re.findall(r"^```python\n(.*?)^```", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks, "README.md shows no Python"
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "readme"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"README.md, Python block {number}", "exec"), namespace)
    printed = capsys.readouterr().out
    for shown in re.findall(r"^<!-- printed -->\n```text\n(.*?)^```", readme.read_text(encoding="utf-8"), re.M | re.S):
        for line in shown.splitlines():
            assert line == "..." or line in printed, f"README.md shows {line!r}, which its Python does not print"


def test_the_first_example_shows_a_reflection_that_helps() -> None:
    shown = re.search(r"^<!-- printed -->\n```text\n\((.*?)\)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert shown is not None
    first, *rest = map(float, shown[1].split(", "))
    assert min(rest) >= first + 0.5


def test_the_file_map_is_the_tree() -> None:
    tree = {
        path.name + ("/" if path.is_dir() else "")
        for path in SRC.iterdir()
        if not path.name.startswith("_") and path.name != "py.typed"
    }
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    mapped = re.findall(r"^  (\w+(?:\.py|/)) ", readme, re.MULTILINE)
    assert sorted(mapped) == sorted(tree)

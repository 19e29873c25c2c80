"""The pages in docs/: their code runs, their commands exist, their links lead somewhere. No site is built.

A fence says what it holds: `python` and `sh` are run, in the order of the page, in a fresh folder; `text` is
output or a form. On the line above a fence, `<!-- not run: why -->` keeps it from being run,
`<!-- file: lessons.py -->` writes it into that file instead, and `<!-- printed -->` says that the code before printed
its lines, with `...` for any text.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main
from typer.testing import CliRunner

from metagym.cli import app
from metagym.cli.options import FLAGS, SHORTHANDS
from tests.conftest import ROOT, SRC

PAGES = sorted((ROOT / "docs").rglob("*.md"))
NEEDS = {"minihack.md": ("minihack", "minihack"), "tutorial.md": ("jinja2", "report")}
"""Page: the package that its code needs, and the extra that brings it."""
_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>not run|file|printed)(?:: (?P<word>[^\n]+))? -->\n)?```(?P<kind>[^\n]*)\n(?P<text>.*?)^```",
    re.M | re.S,
)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!\w+:)([^)\s]+)\)|!\[[^\]]*\]\((?!\w+:)([^)\s]+)\)")


class Fence(NamedTuple):
    """A fenced block of a page."""

    kind: str
    text: str
    line: int
    mark: str | None
    word: str | None


def fences(page: Path) -> Iterator[Fence]:
    """Yield the blocks of a page, but for Sphinx's own directives."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if not found["kind"].startswith("{"):
            yield Fence(
                found["kind"], found["text"], text.count("\n", 0, found.start("text")), found["mark"], found["word"]
            )


def commands(block: str) -> list[list[str]]:
    """Return the command lines of a block, split as a shell does."""
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.filterwarnings("ignore::metagym.actor.ScriptedActorWarning")
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.name in NEEDS and importlib.util.find_spec(NEEDS[page.name][0]) is None:
        pytest.skip(f"needs the extra {NEEDS[page.name][1]}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    for variable in ("ALFWORLD_DATA", "METAGYM_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    namespace: dict[str, object] = {"__name__": "page"}
    output = io.StringIO()
    for fence in fences(page):
        where = f"{name(page)}, line {fence.line}"
        if fence.mark == "printed":
            printed = " ".join(output.getvalue().split())
            for piece in re.split(r"\.\.\.|\n", fence.text):
                assert " ".join(piece.split()) in printed, f"{where}: nothing printed {piece!r}, but:\n{printed}"
            output = io.StringIO()
        if fence.mark == "file":
            Path(str(fence.word)).write_text(fence.text, encoding="utf-8")
            monkeypatch.delitem(sys.modules, Path(str(fence.word)).stem, raising=False)
        if fence.mark:
            continue
        if fence.kind == "python":
            with contextlib.redirect_stdout(output):
                exec(compile("\n" * fence.line + fence.text, name(page), "exec", dont_inherit=True), namespace)
        for words in commands(fence.text) if fence.kind == "sh" else ():
            assert words[0] == "metagym", f"{where}: {words[0]} is not run here; say why above the block"
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, f"{where}: {shlex.join(words)} gave {result.exit_code}:\n{result.output}"
            output.write(result.output)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_fence_says_what_it_holds(page: Path) -> None:
    for fence in fences(page):
        assert fence.kind in ("python", "sh", "text", "toml"), f"{name(page)}, line {fence.line}: {fence.kind!r}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=name)
def test_a_pages_commands_exist(page: Path) -> None:
    """Also those that are not run, and those within a text block."""
    for fence in fences(page):
        if fence.kind in ("sh", "text"):
            for line in fence.text.replace("\\\n", " ").splitlines():
                if line.startswith("metagym "):
                    check_command(shlex.split(line, comments=True)[1:], f"{name(page)}, line {fence.line}: {line}")


ALSO_KNOWN = {"--help", *FLAGS, *(name for names in SHORTHANDS.values() for name in names)}
"""Options that no parameter has: those of a plan, and shorthands."""


def check_command(words: list[str], where: str) -> None:
    """Fail where a command or an option is unknown; values are not looked at."""
    command, context = typer.main.get_command(app), None
    while hasattr(command, "commands"):
        context = type(command).context_class(command, parent=context, info_name=command.name)
        assert words, f"{where}: a command is missing"
        if words[0].startswith("-"):
            return  # an option of the whole, such as --version
        assert words[0] in command.commands, f"{where}: no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in known | ALSO_KNOWN]
    assert not unknown, f"{where}: no option {unknown}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md"], ids=name)
def test_a_pages_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for pair in _LINK.findall(text):
        path, _, anchor = "".join(pair).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {path}, which does not exist"
        if anchor:
            assert anchor in anchors(target), f"{name(page)} links to {path}#{anchor}, which has no such heading"


def test_the_index_names_every_page_once_under_four_captions() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\{toctree\}\n:caption: ([^\n]+)\n:hidden:\n(.*?)```", index, re.S)
    assert [caption for caption, _ in blocks] == ["Tutorial", "How-to", "Reference", "Explanation"]
    named = [line for _, lines in blocks for line in lines.split()]
    pages = [str(page.relative_to(ROOT / "docs").with_suffix("")) for page in PAGES]
    assert sorted(named) == sorted(set(pages) - {"index"})


def source_texts() -> Iterator[str]:
    """Yield every text in the source, with `...` where a value is put in."""
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_of_the_troubleshooting_page_stands_in_the_source() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.+?) \|", page, re.M)
    messages = [message for cell in cells if "(Gymnasium's)" not in cell for message in re.findall(r"`([^`]+)`", cell)]
    texts = list(source_texts())
    assert len(messages) >= 30
    for message in messages:
        pieces = [re.escape(piece.strip()) for piece in message.split("...") if piece.strip()]
        pattern = re.compile(".*".join(pieces), re.S)
        assert any(pattern.search(text) for text in texts), f"no error says {message!r} any more"


def test_the_maintainers_page_names_places_that_exist() -> None:
    page = (ROOT / "docs" / "maintainers.md").read_text(encoding="utf-8")
    diagram = re.findall(r"^ ([\w/]+\.py) +(?:\w+\.)?(\w+)", page, re.M)
    assert len(diagram) >= 15
    places = [*re.findall(r"`([\w/]+\.py)(?::(\w+))?`", page), *diagram]
    assert len(places) >= 60
    for path, item in places:
        text = "".join(found.read_text(encoding="utf-8") for found in (SRC / path, ROOT / path) if found.exists())
        assert text, f"docs/maintainers.md names {path}, which does not exist"
        assert not item or re.search(rf"^ *(?:async )?(?:def|class) {item}\b", text, re.M), f"{path} has no {item}"


def test_the_maintainers_page_names_every_part() -> None:
    page = (ROOT / "docs" / "maintainers.md").read_text(encoding="utf-8")
    parts = {
        path.name + "/" * path.is_dir() for path in SRC.iterdir() if path.name[0] != "_" and path.name != "py.typed"
    }
    assert {part for part in parts if f"`{part}`" not in page} == set()


def test_the_files_that_pages_name_exist() -> None:
    pages = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md"))]
    for page in pages:
        named = re.findall(
            r"\b(?:tests|benchmarks|tools|examples)/[\w/]+\.(?:py|sh|yaml)", page.read_text(encoding="utf-8")
        )
        missing = [path for path in named if not (ROOT / path).exists()]
        assert missing == [], f"{name(page)} names {missing}"


def test_the_pages_that_llms_txt_names_exist() -> None:
    named = re.findall(r"\]\((\w+)\.html\)", (ROOT / "docs" / "_extra" / "llms.txt").read_text(encoding="utf-8"))
    assert "agents" in named
    assert [page for page in named if not (ROOT / "docs" / f"{page}.md").exists()] == []

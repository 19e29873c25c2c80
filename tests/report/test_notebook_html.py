"""What a notebook shows: everything that matters, and whatever was played stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.evaluation import EvaluationConfig, evaluate
from metagym.report.notebook_html import MAX_CHARS, MAX_ROWS, text
from metagym.types import Action, Observation, Reflection, Step, StopReason
from tests.conftest import MakeGates, make_episode, make_meta_step, make_step, make_task, make_trajectory

SCRIPT = '<script>alert(1)</script><img src=x onerror="alert(1)">'
HOSTILE = f"{SCRIPT}' \u202eevil\u2066 \x00\x1b[2J </pre></details> &amp;"
TAGS = {"div", "b", "i", "span", "details", "summary", "pre", "table", "thead", "tbody", "tr", "th", "td"}


class Reader(HTMLParser):
    """Reads HTML as a browser does: its tags, attributes and text; says where a tag is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(record: object) -> Reader:
    html = record._repr_html_()  # type: ignore[attr-defined]
    found = Reader(html)
    assert found.tags <= TAGS
    assert found.attributes <= {"style", "scope"}
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", html)
    return found


def test_hostile_text_is_shown_as_text_in_every_field() -> None:
    observation = Observation(text=HOSTILE, goal=HOSTILE, feedback=HOSTILE)
    step = Step(
        observation=observation,
        action=Action(text=HOSTILE, thought=HOSTILE, problem=HOSTILE),
        command=HOSTILE,
        is_valid=False,
        reward=0.0,
    )
    task = make_task(HOSTILE, family=HOSTILE)
    trajectory = make_trajectory(
        [step], episode=make_episode(HOSTILE, task), final_observation=observation, stop_detail=HOSTILE
    )
    failed = make_trajectory(
        [step], episode=make_episode(HOSTILE, task), score=None, stop_reason=StopReason.ERROR, error=HOSTILE
    )
    reflection = Reflection(prompt=HOSTILE, analysis=HOSTILE)
    shown = f"{SCRIPT}' [U+202E]evil[U+2066] ␀"
    for record, times in (
        (trajectory, 10),
        (failed, 8),
        (make_meta_step([trajectory, failed], prompt=HOSTILE, reflection=reflection), 6),
    ):
        assert read(record).text.count(shown) >= times


@given(st.text())
def test_any_text_comes_back_from_its_html(value: str) -> None:
    plain = re.sub("[^ -~\n\t]", "", value)
    assert Reader(f"<pre>{text(plain)}</pre>").text == plain
    Reader(f"<pre>{text(value)}</pre>")


def test_a_trajectory_shows_its_steps_and_its_map_keeps_its_columns() -> None:
    level = "  -----\n  |.@.|\n  -----"
    invalid = make_step("A wall.", None).model_copy(update={"action": Action(text=None, problem="No action.")})
    shown = make_trajectory(
        [make_step(level, "go east", goal="Find the stairs.", reward=0.5), invalid],
        success=False,
        stop_reason=StopReason.STEP_LIMIT,
        stop_detail="tired",
    )
    html = shown._repr_html_()
    assert f">{level}</pre>" in html
    text_of = read(shown).text
    for part in ("law-0000/1", "Goal: Find the stairs.", "go east", "0.5", "invalid", "No action.", "It is over."):
        assert part in text_of
    assert "no success, step limit: tired" in text_of
    assert "SCRIPTED" not in text_of
    assert "SCRIPTED" in read(make_trajectory(scripted=True)).text


def test_a_trajectory_that_never_began_is_shown() -> None:
    shown = make_trajectory(final_observation=None, score=None, stop_reason=StopReason.ERROR, error="no server")
    assert "error: no server" in read(shown).text


def test_a_meta_step_shows_each_episode_and_its_prompt_behind_a_fold() -> None:
    episodes = [make_trajectory([make_step(action=None)] * 3), make_trajectory(score=None, scripted=True)]
    shown = read(make_meta_step(episodes, index=4, prompt="Be brave, always.", reward=None))
    assert "Meta-step 4: reward – over 2 episodes, 1 failed" in shown.text
    assert "Be brave, always." in shown.text
    assert "SCRIPTED" in shown.text
    html = make_meta_step(episodes, prompt="Be brave, always.")._repr_html_()
    assert html.index("<details>") < html.index("Be brave, always.") < html.index("</details>")


def test_what_is_long_loses_its_middle() -> None:
    steps = [make_step(f"Field {number}.\n" + "x" * 50_000) for number in range(1_000)]
    html = make_trajectory(steps)._repr_html_()
    assert len(html) < (MAX_ROWS + 1) * (MAX_CHARS + 1_000)
    assert "902 rows left out" not in html  # 1,000 steps and the end
    assert "901 rows left out" in html
    assert "Field 999." in html


def test_a_report_shows_its_verdict_its_endpoint_and_each_family(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=("law-0007", "law-0010"), num_steps=2, num_seeds=3, num_validation=3, num_test=4)
    report = evaluate(make_gates(), "demo", config=config, arm=HOSTILE)
    shown = read(report).text
    gain = report.overall.gain
    assert gain is not None
    for part in (report.verdict, f"{gain.mean:+.3f}", "3 seeds and 2 families", "law-0007", "law-0010", "SCRIPTED"):
        assert part in shown
    assert shown.count("SCRIPTED") == 1
    assert "SCRIPTED" not in read(report.model_copy(update={"scripted": False, "notes": ()})).text


def test_colours_are_the_notebooks_own(make_gates: MakeGates) -> None:
    """Light or dark: no colour is set but a half-transparent grey."""
    config = EvaluationConfig(families=("law-0007",), num_steps=1, num_seeds=1, num_validation=1, num_test=1)
    records = (make_trajectory([make_step("a\nb")]), make_meta_step([make_trajectory()]))
    for record in (*records, evaluate(make_gates(), "demo", config=config)):
        styles = " ".join(re.findall(r'style="([^"]*)"', record._repr_html_()))
        assert not re.search(r"#[0-9a-f]{3}|(?<!-)\bcolor:(?!inherit)|background:(?!none)", styles)


def test_ipython_shows_the_html() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    shown, _ = formatters.DisplayFormatter().format(make_trajectory())
    assert shown["text/html"] == make_trajectory()._repr_html_()

"""No text of a run harms the page in a real Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metagym.types import Action, Completion, Observation, Step
from tests.conftest import make_step, make_task
from tests.report.chromium import BROWSER, Show
from tests.report.conftest import WriteRun, played

pytestmark = BROWSER


ATTACKS = (
    "<script>globalThis.owned = 1; alert(1)</script>",
    "</script><script>globalThis.owned = 2</script>",
    '<img src=x onerror="globalThis.owned = 3">',
    "<svg onload='globalThis.owned = 4'></svg><iframe srcdoc='<script>parent.owned = 5</script>'></iframe>",
    '[click](javascript:globalThis.owned=6) <a href="javascript:globalThis.owned=7">here</a>',
    "'\"><style>*{display:none}</style><base href='https://example.com'>{{ 7 * 7 }}{% raw %}<!-- -->]]>",
    "pay \u202eexe.elif\u2069 \u200f right \u061c",
    "nul \x00 bell \x07 escape \x1b[31m delete \x7f line\u2028end",
)


def hostile(number: int, text: str, prompt: str, *, meta_step: int = 0, task: str | None = None) -> Any:
    observation = Observation(
        text=text, goal=text, available_actions=(text, "push"), feedback=text, display={"at": text, "chars": text}
    )
    action = Action(text=text, thought=text, problem=text, completion=Completion(text=text, reasoning=text, model=text))
    step = Step(observation=observation, action=action, command=text, is_valid=False, reward=0.0, events=(text,))
    return played(
        number, step, prompt=prompt, meta_step=meta_step, stop_detail=text, error=text, final_observation=observation,
        episode={"task": make_task(task or f"{number}{text}", family=task or text, seed=number)},
    )  # fmt: skip


def test_no_text_of_a_run_is_ever_read_as_markup(show: Show, write_run: WriteRun) -> None:
    prompt = "\n".join(ATTACKS)
    first = [hostile(number, text, prompt) for number, text in enumerate(ATTACKS)]
    second = [hostile(99, ATTACKS[0], f"{prompt}\nmore {ATTACKS[1]}", meta_step=1)]
    about = {"env_id": ATTACKS[0], "measurement": {ATTACKS[1]: ATTACKS[2]}, "arm": ATTACKS[3]}
    seen = show([write_run([first, second], name="run<b>'\"", analysis=prompt, **about)])
    tags = "main script, main img, main iframe, main style, main base, a[href^='javascript:']"
    elements = f'[...document.querySelectorAll("{tags}")].length'
    for place in ("", "#/episodes", "#/compare", *(f"#/episode/{number}" for number in range(1, 10))):
        seen.go(place)
        for summary in seen.page.query_selector_all("main summary"):
            if summary.is_visible():
                summary.click()
        for mode in ("Step", "Dialogue"):
            if place.startswith("#/episode/"):
                seen.page.click(f".tools button:text-is('{mode}')")
        seen.settle()
        assert seen.page.evaluate(elements) == 0, place
        assert seen.page.evaluate("globalThis.owned") is None, place
        assert not set(seen.page.evaluate("document.body.innerText")) & set(
            "\x00\x07\x1b\u202e\u2069\u200f\u061c\u2028"
        )
    assert "<script>globalThis.owned" in seen.text(".eyebrow")
    seen.go("#/episode/7")
    assert "[U+202E]exe.elif[U+2069]" in seen.text(".turn")
    seen.go("#/episode/8")
    assert "nul ␀ bell ␇ escape ␛[31m delete ␡ line[U+2028]end" in seen.text(".turn")


def test_the_policy_stops_a_script_that_got_in_all_the_same(show: Show, learning: Path) -> None:
    """Should the escaping ever fail, the policy holds: this also shows that the tests above would see a script."""
    seen = show([learning])
    seen.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"globalThis.owned = 1\">')")
    seen.page.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'globalThis.owned = 2'; "
        "document.body.append(one); }"
    )
    seen.settle()
    assert seen.page.evaluate("globalThis.owned") is None
    assert any("Content Security Policy" in told for told in seen.said)
    seen.said.clear()


def test_a_line_of_a_megabyte_is_cut_and_shown_whole_when_asked_for(show: Show, write_run: WriteRun) -> None:
    line = "<b>x</b>" * 131_072
    seen = show([write_run([[played(1, make_step(line, "push"), prompt=line)]])], "#/episode/1/step/1")
    assert len(seen.page.evaluate("document.body.innerText")) < 20_000
    seen.page.click(".turn[aria-current] .world .more")
    assert seen.page.evaluate("document.querySelector('.turn .world .text').textContent.length") == len(line)
    assert seen.path.stat().st_size < 200_000


def test_no_field_however_long_fills_the_page(show: Show, write_run: WriteRun) -> None:
    long = "x<b>" * 262_144
    huge = {"top": 0, "left": 10**9, "chars": ["."], "colors": ["7"], "hero": [0, 0]}
    vast = hostile(2, long, long, meta_step=1, task="second")
    vast = vast.model_copy(update={"steps": (*vast.steps, make_step("A map.", "push", display=huge))})
    seen = show([write_run([[hostile(1, long, "Short.", task="first")], [vast]], analysis=long)])
    for place in ("", "#/episode/1/step/1", "#/episode/2/step/2"):
        seen.go(place)
        for mode in ("Step", "Dialogue") if place else ("",):
            if mode:
                seen.page.click(f".tools button:text-is('{mode}')")
            seen.page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
            seen.settle()
            assert len(seen.page.evaluate("document.querySelector('main').innerText")) < 150_000, place

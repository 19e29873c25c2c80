"""The report in a real Chromium: opened from the disk, offline, driven by keys and clicks."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from metagym.actors import ChatActor
from metagym.report import make_report
from metagym.runs import RunFolder
from metagym.testing import FakeChatModel
from metagym.types import Action, Completion, Message, Observation, Step
from tests.conftest import MakeGates, make_step, make_task
from tests.report.conftest import WriteRun, manifest, on_map, played

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)"),
]


class Seen:
    """What a browser showed: the page, what its console said, and what it asked the network for."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.path = page, path
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.asked.append(request.url))

    def go(self, place: str = "") -> None:
        """Open the report afresh at a place in it."""
        self.page.goto("about:blank")
        self.page.goto(f"file://{self.path}{place}")
        self.page.wait_for_selector("html[data-ready]", timeout=20_000)

    def text(self, selector: str) -> str:
        """Return what is to be read there, blanks joined."""
        return " ".join(self.page.inner_text(selector).split())

    @property
    def place(self) -> str:
        """Where in the report we are."""
        return str(self.page.evaluate("location.hash"))

    def press(self, key: str, then: str) -> None:
        """Press a key, and wait until we are at the place that it leads to."""
        self.page.keyboard.press(key)
        self.page.wait_for_function("place => document.body.dataset.place === place", arg=then, timeout=10_000)

    def settle(self) -> None:
        """Let two frames go by, so that whatever was to run has run."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


Show = Callable[..., Seen]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Show]:
    """Write a report, and open it with the network off; at the end nothing may have been said or asked."""
    opened: list[tuple[Seen, Any]] = []

    def open_report(runs: Sequence[Path], place: str = "", *, theme: str = "light", width: int = 1280) -> Seen:
        path = tmp_path / "report.html"
        make_report(runs, path)
        context = browser.new_context(
            offline=True, color_scheme=theme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
        )
        seen = Seen(context.new_page(), path)
        opened.append((seen, context))
        seen.go(place)
        return seen

    yield open_report
    for seen, context in opened:
        context.close()
        assert seen.said == []
        assert {url for url in seen.asked if not url.startswith(("file://", "about:"))} == set()


# The overview -----------------------------------------------------------------------------------------


def test_the_report_opens_offline_with_its_curve_and_nothing_in_the_console(show: Show, campaign: Path) -> None:
    seen = show([campaign])
    assert "SCRIPTED demo is not shown to differ from sp_0" in seen.text("h1")
    assert len(seen.page.query_selector_all("svg.chart path.line")) == 3
    box = seen.page.query_selector("svg.chart path.line").bounding_box()
    assert box["width"] > 80
    assert box["height"] > 20
    assert seen.page.get_attribute("nav [aria-current]", "data-view") == "overview"


def test_the_prompts_show_what_changed_beside_the_score(show: Show, learning: Path) -> None:
    seen = show([learning])
    rows = [" ".join(row.inner_text().split()) for row in seen.page.query_selector_all(".version")]
    assert rows[0].startswith("meta-step 0 0.00")
    assert rows[1].startswith("meta-step 1 0.50 ▲ +0.50")
    assert rows[2].startswith("meta-step 2 1.00 ▲ +0.50")
    assert [found.inner_text() for found in seen.page.query_selector_all(".version ins")] == [
        "\n- when the gate is iron, push",
        "careful",
    ]
    assert [found.inner_text() for found in seen.page.query_selector_all(".version del")] == ["brave"]
    seen.page.click(".version:nth-child(2) summary")
    assert "Iron gates want a push." in seen.text(".version:nth-child(2)")


def test_another_meta_episode_of_an_evaluation_is_one_choice_away(show: Show, campaign: Path) -> None:
    seen = show([campaign])
    options = seen.page.eval_on_selector_all(".prompts option", "all => all.map(one => one.textContent)")
    assert len(options) == 3 * 2 * 3
    assert options[0] == "demo · law-0007 · seed 0"
    before = seen.text(".versions")
    seen.page.select_option(".prompts select", label="demo · law-0500 · seed 0")
    assert seen.text(".versions") != before


def test_a_cell_of_the_heat_map_opens_what_was_played(show: Show, campaign: Path) -> None:
    seen = show([campaign])
    seen.page.click("svg.heat .edge >> nth=0")
    seen.page.wait_for_selector("#list tbody tr")
    assert "phase=validation" in seen.place
    cells = {" ".join(row.inner_text().split()) for row in seen.page.query_selector_all("#list tbody tr")}
    assert len(cells) == 3  # one for each seed
    assert all("validation, prompt 0" in cell for cell in cells)


# The episodes -----------------------------------------------------------------------------------------


def test_keys_step_through_an_episode_and_from_one_to_the_next(show: Show, with_maps: Path) -> None:
    seen = show([with_maps], "#/episode/1")
    assert seen.text("#episode h1").startswith("Episode 1: law-0000/1")
    assert seen.page.inner_text(".map") == "-----\n|.@.|\n|..>|\n-----"
    assert seen.page.inner_text(".map .hero") == "@"
    seen.press("ArrowRight", "#/episode/1/step/2")
    assert "thought 2" in seen.text(".stage")
    assert seen.page.evaluate("[...document.querySelectorAll('.map .hero')].map(one => one.textContent)") == ["."]
    seen.press("ArrowRight", "#/episode/1/step/3")
    assert "What stood there at the end" in seen.text(".stage")
    seen.press("ArrowLeft", "#/episode/1/step/2")
    seen.press("ArrowDown", "#/episode/2")
    assert seen.text("#episode h1").startswith("Episode 2: law-0000/2")
    seen.press("ArrowUp", "#/episode/1")


def test_the_map_keeps_its_colours_and_its_place(show: Show, write_run: WriteRun) -> None:
    first = on_map(1, hero=[(6, 31)]).steps[0]
    corridor = {"top": 4, "left": 28, "chars": ["#######"], "colors": ["3333333"], "hero": [4, 28]}
    second = first.model_copy(update={"observation": Observation(text="", display=corridor)})
    seen = show([write_run([[played(1, first, second, final_observation=None)]])], "#/episode/1/step/1")
    assert seen.page.text_content(".map").split("\n") == ["       ", "  -----", "  |.@.|", "  |..>|", "  -----"]
    assert seen.page.inner_text(".map .c3") == ">"
    assert seen.page.evaluate("getComputedStyle(document.querySelector('.map .c3')).color") == "rgb(201, 154, 91)"
    seen.press("ArrowRight", "#/episode/1/step/2")
    assert seen.page.text_content(".map").split("\n") == ["#######", *["       "] * 4]


def test_a_deep_link_lands_on_its_step(show: Show, learning: Path) -> None:
    seen = show([learning], "#/episode/3/step/2")
    assert seen.text(".turn[aria-current]").startswith("2 An iron gate.")
    assert seen.text(".strip [aria-current]") == "2+"
    seen.go("#/episode/99")
    assert seen.place == "#/episodes"


def test_an_invalid_action_is_marked_by_a_sign_and_not_by_colour_alone(show: Show, learning: Path) -> None:
    seen = show([learning], "#/episode/3/step/1")
    assert seen.text(".strip button:first-child") == "1⊘"
    assert "⊘ no action could be read" in seen.text(".turn[aria-current]")
    assert "⊘ Invalid, not executed" in seen.text(".turn[aria-current]")
    seen.go("#/episode/6")
    assert "! infrastructure error" in seen.text("#episode")
    assert "the road is closed" in seen.text(".outcome")


def test_the_filters_filter_and_the_place_remembers_them(show: Show, learning: Path) -> None:
    seen = show([learning], "#/episodes")

    def rows(then: int) -> list[str]:
        seen.page.wait_for_function("count => document.querySelectorAll('#list tbody tr').length === count", arg=then)
        return [row.inner_text() for row in seen.page.query_selector_all("#list tbody tr td:first-child")]

    assert len(rows(6)) == 6
    seen.page.select_option("[name=outcome]", "error")
    assert rows(1) == ["6"]
    seen.page.select_option("[name=outcome]", "failure")
    assert rows(3) == ["1", "2", "4"]
    seen.page.select_option("[name=index]", "1")
    assert rows(1) == ["4"]
    assert seen.place == "#/episodes?outcome=failure&index=1"
    seen.page.click("[type=reset]")
    assert len(rows(6)) == 6
    seen.page.select_option("[name=invalid]", "some")
    assert rows(1) == ["3"]
    seen.page.click("[type=reset]")
    seen.page.fill("[name=text]", "IRON gate")
    assert rows(1) == ["3"]
    assert "1 of 6 episodes" in seen.text("#found")
    seen.page.click("#list tbody tr")
    seen.page.wait_for_selector("#episode h1")
    assert seen.place == "#/episode/3"
    assert "1 of 1" in seen.text(".tools")


def test_the_same_task_stands_side_by_side_under_two_prompts(show: Show, campaign: Path) -> None:
    seen = show([campaign], "#/compare")
    panes = [pane.inner_text() for pane in seen.page.query_selector_all(".stage.both > .pane")]
    assert "failure" in panes[0]
    assert "success" in panes[1]
    place = seen.page.evaluate("[...document.querySelectorAll('.stage.both h2 a')].map(one => one.hash.split('/')[2])")
    seen.press("ArrowRight", f"#/compare/{place[0]}/{place[1]}/step/2")
    assert seen.page.get_attribute(".stage.both", "data-step") == "2"
    for summary in seen.page.query_selector_all(".stage.both summary:has-text('the other side lacks')"):
        summary.click()
    assert "when the gate is" in seen.text(".stage.both ins")


class Counted(FakeChatModel):
    """A model with a small window, whose fingerprint says how long a reply may be."""

    max_reply_tokens = 40

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.fingerprint = {"kind": "FakeChatModel", "sampling": {"max_tokens": 40}}

    @staticmethod
    def _reply(messages: Sequence[Message], call: Any) -> str:
        turn = sum(message["role"] == "assistant" for message in messages)
        return (
            "nothing to read" if turn == 1 else f"Thought: turn {turn}, naïve ☃\nAction: {('push', 'dance')[turn % 2]}"
        )


@pytest.mark.parametrize(
    "options",
    [{}, {"history_steps": 2}, {"context_tokens": 420}, {"list_actions": False, "context_tokens": 300}],
    ids=str,
)
def test_the_messages_are_those_that_the_actor_sent(
    show: Show, make_gates: MakeGates, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = Counted()
    env = make_gates(ChatActor(model, **options), episodes_per_step=1, max_steps=6)
    with RunFolder.create(tmp_path / "chat", manifest(measurement=env.fingerprint)) as run:
        env.record_to(run)
        env.reset(seed=0)
        env.step("Push.")
    seen = show([tmp_path / "chat"], "#/episode/1/step/1")
    steps = len(model.calls)
    assert steps > 3
    for position, (messages, _) in enumerate(model.calls, start=1):
        if position > 1:
            seen.press("ArrowRight", f"#/episode/1/step/{position}")
        seen.page.click(".turn[aria-current] summary:has-text('Messages sent')")
        seen.page.wait_for_selector(".messages")
        shown = seen.page.evaluate(
            "[...document.querySelectorAll('.messages .message')].map(one => "
            "({role: one.querySelector('b').textContent, content: one.querySelector('.text').textContent}))"
        )
        assert shown == messages
        seen.page.click(".turn[aria-current] summary:has-text('Raw completion')")
        assert model._replies(messages, None).split("\n")[0] in seen.text(".turn[aria-current] .raw:not(.messages)")


# Hostile text -----------------------------------------------------------------------------------------

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


# Themes, widths, and what a reader with other senses gets -----------------------------------------------


@pytest.mark.parametrize(
    ("theme", "width"),
    [
        ("light", 1280),
        ("dark", 1280),
        *(pytest.param(theme, 390, marks=pytest.mark.slow) for theme in ("light", "dark")),
    ],
)
def test_axe_finds_no_serious_fault(
    show: Show, campaign: Path, learning: Path, with_maps: Path, theme: str, width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed").AXE_SCRIPT
    seen = show([campaign, learning, with_maps], theme=theme, width=width)
    last = seen.text("nav .count").replace(",", "")
    for place in ("", "#/compare", "#/episode/1/step/1", f"#/episode/{last}/step/1", "#/episodes?outcome=error"):
        seen.go(place)
        seen.page.evaluate(axe)
        found = seen.page.evaluate("() => axe.run({resultTypes: ['violations'], preload: false})")["violations"]
        serious = [
            (item["id"], item["nodes"][0]["html"]) for item in found if item["impact"] in ("serious", "critical")
        ]
        assert serious == [], place


def test_a_phone_needs_no_scrolling_to_the_side(show: Show, campaign: Path) -> None:
    seen = show([campaign], width=390)
    for place in ("", "#/episodes", "#/compare", "#/episode/1/step/1"):
        seen.go(place)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390, place


def test_the_theme_follows_the_system_until_it_is_chosen(show: Show, learning: Path) -> None:
    seen = show([learning], theme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = seen.page.evaluate(background)
    seen.page.click("#theme")
    assert seen.text("#theme") == "Theme: light"
    assert seen.page.evaluate(background) != dark
    seen.go()
    assert seen.text("#theme") == "Theme: light"
    seen.page.click("#theme")
    assert seen.page.evaluate(background) == dark


def test_it_prints_without_what_only_a_screen_can_use(show: Show, learning: Path) -> None:
    seen = show([learning], theme="dark")
    seen.page.emulate_media(media="print", color_scheme="dark")
    assert not seen.page.is_visible(".bar")
    assert seen.page.is_visible(".versions")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


# A thousand episodes ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_thousand_episodes_stay_small_and_can_be_searched(show: Show, write_run: WriteRun) -> None:
    """The size is a promise; how long it takes is printed, and judged by people."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(4_000)]

    def step(number: int) -> Step:
        observation = Observation(text=" ".join(rng.choices(words, k=40)), available_actions=tuple(words[:30]))
        action = Action(text=words[number], thought=" ".join(rng.choices(words, k=40)))
        return Step(observation=observation, action=action, command=words[number], is_valid=True, reward=0.0)

    batches = [
        [
            played(index * 50 + slot, *map(step, range(30)), prompt=f"Prompt {index}", meta_step=index)
            for slot in range(50)
        ]
        for index in range(20)
    ]
    seen = show([write_run(batches)])
    size = seen.path.stat().st_size
    ready = seen.page.evaluate("performance.getEntriesByName('ready')[0].startTime")
    seen.go("#/episodes")
    seen.page.fill("[name=text]", batches[7][3].steps[9].action.thought[:40])
    seen.page.wait_for_function("() => /^[1-9]\\d{0,2} of 1,000/.test(document.querySelector('#found').textContent)")
    assert seen.text("#list tbody td") == "354"
    print(f"\n1,000 episodes of 30 steps, 2.4 million random words: {size / 1e6:.1f} MB, ready after {ready:.0f} ms")
    assert size < 15_000_000

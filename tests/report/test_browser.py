"""The page in a real Chromium: the overview, themes, widths, and a thousand episodes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from metagym.types import Action, Observation, Step
from tests.report.chromium import BROWSER, Show
from tests.report.conftest import WriteRun, played

pytestmark = BROWSER


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
    seen.page.wait_for_selector(".version:nth-child(2) details > :not(summary)")  # written when it is unfolded
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


@pytest.mark.parametrize(
    ("theme", "width"),
    [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)],
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


def test_the_numbers_of_a_single_curve_are_readable_on_a_phone(show: Show, learning: Path) -> None:
    seen = show([learning], width=390)
    heights = seen.page.eval_on_selector_all(
        ".chart.alone .tick", "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert heights
    assert min(heights) >= 9


def test_scroll_bars_have_the_colours_of_the_theme(show: Show, learning: Path) -> None:
    colour = "getComputedStyle(document.querySelector('.scroll')).scrollbarColor"
    light, dark = (show([learning], theme=theme).page.evaluate(colour) for theme in ("light", "dark"))
    assert "auto" not in (light, dark)
    assert light != dark


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

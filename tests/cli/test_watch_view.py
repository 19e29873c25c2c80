"""What `metagym watch` shows: the state of runs as lines of text."""

from __future__ import annotations

from typing import Any

from metagym.cli.watch_view import MAX_WIDTH, change_lines, sparkline, view
from metagym.runs.watching import CallUnderWay, FamilyCurve, RunState, Watched


def make_state(**fields: Any) -> RunState:
    return RunState(**{"name": "it", "path": "it", "kind": "evaluation", "status": "running", **fields})


def make_watched(*runs: RunState, **fields: Any) -> Watched:
    return Watched(**{"path": "it", "status": "running", "is_over": False, "runs": runs, **fields})


def test_pending_calls_are_shown_the_oldest_first() -> None:
    calls = tuple(CallUnderWay(role="actor", model="m", retry=number, age_s=age) for number, age in enumerate((3, 200)))
    shown = view(make_watched(make_state(under_way=calls, idle_s=12.0, phase="validation"))).plain
    assert "2 calls under way: actor 3 min (again), actor 3 s" in shown
    assert "written 12 s ago, validation" in shown


def test_a_line_is_printed_when_something_but_the_clock_changed() -> None:
    before = make_watched(make_state(idle_s=1.0), make_state(name="other"))
    assert len(change_lines(None, before)) == 2
    assert change_lines(before, make_watched(make_state(idle_s=9.0), make_state(name="other"))) == []
    changed = change_lines(before, make_watched(make_state(num_episodes=3), make_state(name="other")))
    assert changed == ["it: running, meta-step 0 of 0, 3 episodes, 0 failed"]


def test_an_idle_run_takes_one_line_while_others_run() -> None:
    curve = FamilyCurve(family="law", online=(0.0, 1.0), validation=(0.5,), tests={"test first": 0.25})
    runs = [make_state(name=f"arm-{number}", status="finished", curves=(curve,)) for number in range(20)]
    seen = make_watched(*runs, make_state(name="now", curves=(curve,)), episodes_per_min=12.0)
    lines = view(seen, in_full=False).plain.splitlines()
    assert lines[:2] == ["rate         12 episodes/min", "8 more idle runs"]
    assert lines[13].startswith("arm-19")
    assert lines[13].endswith("law ▁█")
    assert lines[15].startswith("now")
    assert lines[-1] == "law test  sp_0 0.25"
    assert len(view(seen).plain.splitlines()) > 80


def test_names_cannot_control_the_terminal() -> None:
    hostile = "\x1b[2J\u202e[bold]\n\x00"
    state = make_state(
        name=hostile, environment=hostile, phase=hostile, curves=(FamilyCurve(family=hostile, online=(1,)),)
    )
    shown = [*change_lines(None, make_watched(state)), *view(make_watched(state)).plain.split("\n")]
    assert len(shown) == 1 + 4
    for line in shown:
        assert line.isprintable()
    assert "[bold]" in shown[0]


def test_a_sparkline_shows_each_value_or_means_if_it_is_long() -> None:
    assert sparkline([0.0, 0.5, 1.0, None]) == "▁▅█·"
    assert sparkline([-1.0, 0.0, 3.0], ascii_only=True) == "029"
    assert sparkline([]) == ""
    long = sparkline([0.0] * 500 + [1.0] * 500, ascii_only=True)
    assert len(long) <= MAX_WIDTH
    assert (long[0], long[-1]) == ("0", "9")

"""Figures: the mark of scripted episodes, the band of the controls, and files with the same bytes each time."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from metagym.errors import ConfigError, MissingExtraError, RunFolderError
from metagym.evaluation import EvaluationConfig, EvaluationReport, evaluate
from metagym.evaluation.comparison import compare
from metagym.evaluation.output.plots import (
    check_figure_path,
    plot_differences,
    plot_learning_curves,
    plot_rewards,
    plot_transfer,
    write_figure,
)
from metagym.evaluation.transfer import transfer_matrix
from tests.conftest import MakeGates

pytest.importorskip("matplotlib")

CONFIG = EvaluationConfig(families=("law-0007",), num_steps=2, num_seeds=2, num_validation=3, num_test=4)


def texts_of(figure: Any) -> list[str]:
    found = [figure._suptitle.get_text()] if figure._suptitle else []
    return [*found, *(panel.get_title() for panel in figure.axes), *(panel.get_xlabel() for panel in figure.axes)]


def labels_of(figure: Any) -> list[str]:
    return figure.axes[-1].get_legend_handles_labels()[1]


@pytest.fixture
def reports(make_gates: MakeGates) -> list[EvaluationReport]:
    return [evaluate(make_gates(), name, config=CONFIG, arm=arm) for name, arm in (("demo", "a"), ("fixed", "b"))]


def test_each_figure_of_scripted_episodes_says_so(
    reports: list[EvaluationReport], make_gates: MakeGates, tmp_path: Path
) -> None:
    figures = [
        plot_learning_curves(reports),
        plot_rewards({"run": [0.0, 1.0]}, scripted=True),
        plot_transfer(transfer_matrix({"a": reports[0]}, {"a": make_gates()}, families=["law-0007"], num_test=3)),
        plot_differences(compare([reports[0], reports[1].model_copy(update={"kind": "same again"})])),
    ]
    for number, figure in enumerate(figures):
        assert any(text.startswith("SCRIPTED") for text in texts_of(figure))
        write_figure(figure, tmp_path / f"{number}.svg")
        assert "SCRIPTED" in (tmp_path / f"{number}.svg").read_text()
    unscripted = [EvaluationReport.model_validate({**report.model_dump(), "scripted": False}) for report in reports]
    assert not any(text.startswith("SCRIPTED") for text in texts_of(plot_learning_curves(unscripted)))
    assert not any(text.startswith("SCRIPTED") for text in texts_of(plot_rewards({"run": [0.0]}, scripted=False)))


def test_null_controls_are_a_band_beside_other_arms_and_lines_alone(reports: list[EvaluationReport]) -> None:
    demo, fixed = reports
    nulls = [fixed.model_copy(update={"arm": arm, "kind": "null control"}) for arm in ("no reflection", "mine")]
    noise = demo.model_copy(update={"arm": "same again", "kind": "same again"})
    assert labels_of(plot_learning_curves([*nulls, demo, noise])) == ["null controls (2)", "a", "same again"]
    assert labels_of(plot_learning_curves(nulls)) == ["no reflection", "mine"]
    assert labels_of(plot_learning_curves([demo, demo], labels=["x/a", "y/a"])) == ["x/a", "y/a"]


def test_the_band_holds_every_interval_of_the_controls_as_far_as_the_axis_shows_it(
    reports: list[EvaluationReport],
) -> None:
    demo, _ = reports
    null = demo.model_copy(update={"arm": "permuted", "kind": "null control"})
    panel = plot_learning_curves([demo, null]).axes[0]
    (band,) = [item for item in panel.collections if item.get_label().startswith("null controls")]
    corners = band.get_paths()[0].vertices
    for place, estimate in enumerate(demo.families["law-0007"].validation):
        assert estimate is not None
        ends = [y for x, y in corners if x == place]
        low, high = (estimate.mean if end is None else end for end in (estimate.low, estimate.high))
        assert (min(ends), max(ends)) == pytest.approx((max(0.0, low), min(1.0, high)))


def test_a_meta_step_without_a_reward_is_a_gap() -> None:
    (line,) = plot_rewards({"run": [0.5, None, 2.0]}, scripted=False).axes[0].get_lines()
    assert [str(value) for value in line.get_ydata()] == ["0.5", "nan", "2.0"]


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_figure_is_the_same_bytes(reports: list[EvaluationReport], tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        write_figure(plot_learning_curves(reports), tmp_path / f"{name}{suffix}")
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert not re.search(rb"dc:date|CreationDate", first)


def test_text_in_a_vector_figure_is_text(tmp_path: Path) -> None:
    figure = plot_rewards({"my <run> & $x$": [0.0], "_hidden\x00\x1b": [1.0]}, scripted=True)
    write_figure(figure, tmp_path / "a.svg")
    from xml.etree import ElementTree

    texts = {"".join(item.itertext()).strip() for item in ElementTree.parse(tmp_path / "a.svg").iter()}
    assert {"my <run> & $x$", "_hidden[U+0000][U+001B]", "meta-step", "SCRIPTED: no language model"} <= texts


def test_a_figure_that_cannot_be_written_is_an_error_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"Expected a figure's file to end in one of .pdf, .svg, .png, got 'a.jpg'"):
        check_figure_path(Path("a.jpg"))
    with pytest.raises(ConfigError, match=r"got 'figure'"):
        check_figure_path(Path("figure"))
    with pytest.raises(RunFolderError, match=r"Expected a file that can be written at .*nowhere"):
        write_figure(plot_rewards({"run": [0.0]}, scripted=True), tmp_path / "nowhere" / "a.PNG")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MissingExtraError,
        match=r"'matplotlib', which is not installed. Run: pip install",
    ):
        check_figure_path(Path("a.pdf"))

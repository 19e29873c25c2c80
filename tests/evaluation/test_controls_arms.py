"""The kind of an arm is a field; only folders of version 0.1 are read by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.controls import ArmKind, is_control, recorded_kind
from metagym.evaluation.store import read_report
from metagym.runs import RunFolder
from tests.conftest import MakeGates

CONFIG = EvaluationConfig(families=("law-0007",), num_steps=1, num_seeds=1, num_validation=2, num_test=2)


def test_the_kind_is_kept_in_the_manifest_and_the_report_whatever_the_arm_is_called(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    report = evaluate(make_gates(), "fixed", config=CONFIG, arm="mine", kind="null control", path=tmp_path / "a")
    assert report.kind == "null control"
    assert read_report(tmp_path / "a") == report
    assert evaluate(make_gates(), "demo", config=CONFIG, arm="same again", path=tmp_path / "b").kind == "method"
    with RunFolder.open(tmp_path / "a") as run:
        assert recorded_kind(run.manifest.evaluation) == "null control"


@pytest.mark.parametrize(
    ("arm", "kind"),
    [
        ("demo", "method"),
        ("same again", "same again"),
        ("same again (ict)", "same again"),
        ("constant prompt", "null control"),
        ("permuted outcomes (ict)", "null control"),
        ("no reflections", "method"),
        ("tuning", "tuning"),
    ],
)
def test_a_manifest_of_version_0_1_has_the_kind_that_its_name_says(arm: str, kind: ArmKind) -> None:
    assert recorded_kind({"arm": arm}) == kind
    assert recorded_kind({"arm": arm, "kind": "method"}) == "method"


def test_only_the_same_again_and_null_controls_are_controls() -> None:
    kinds: tuple[ArmKind, ...] = ("method", "same again", "null control", "tuning")
    assert [kind for kind in kinds if is_control(kind)] == ["same again", "null control"]
    assert recorded_kind(None) == "method"

"""The figures of a report are recomputed from its log without metagym; a changed one is found."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

from tests.conftest import ROOT, MakeGates

from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.gains import Figures


def test_all_figures_agree_and_a_changed_one_is_found(make_gates: MakeGates, tmp_path: Path) -> None:
    compare = runpy.run_path(str(ROOT / "tools" / "recompute_figures.py"))["compare"]
    sizes = {"num_steps": 2, "num_seeds": 2, "num_validation": 4, "num_test": 4, "test_repetitions": 2}
    config = EvaluationConfig(families=("law-0007", "law-0500"), **sizes)
    evaluate(make_gates(GatesDemoActor(slip=0.3)), GatesDemoReflector(), config=config, path=tmp_path)
    num, differing = compare(tmp_path)
    assert (num, differing) == (3 * (len(Figures.model_fields) - 3 + 2 + 2 + 3), [])
    report = json.loads((tmp_path / "report.json").read_text())
    report["overall"]["gain"]["mean"] += 0.001
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert [line.split(": ")[1].split(" is ")[0] for line in compare(tmp_path)[1]] == ["overall, gain[0]"]

"""The demonstration: the loop learns, its controls do not."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

pytestmark = pytest.mark.train
torch: Any = pytest.importorskip("torch", reason="needs metagym[train]")
pytest.importorskip("transformers", reason="needs metagym[train]")

from metagym.errors import RunFolderError  # noqa: E402
from metagym.training.grpo import GRPOConfig  # noqa: E402
from metagym.training.local_reflector import weights_digest  # noqa: E402
from metagym.training.policy import Policy  # noqa: E402
from metagym.training.reward import MetaReward  # noqa: E402
from metagym.training_demo.demonstration import (  # noqa: E402
    SETTINGS,
    DemoConfig,
    ShuffledReward,
    _check_config,
    run_demo,
    run_once,
)
from tests.conftest import MakeGates  # noqa: E402


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_grpo_teaches_the_tiny_reflector_to_read_outcomes(tmp_path: Path) -> None:
    """Over ten runs the gain varies from .01 to .29, and one run depends on the machine: so two runs, on average."""
    reports = run_demo(tmp_path, (0, 1), DemoConfig(), num_processes=2)

    def gain(arm: str) -> float:
        return fmean(getattr(report, arm).final - report.untrained.final for report in reports)

    assert gain("trained") > 0.15, "held-out laws: trained against its own untrained start"
    assert gain("permuted") < gain("trained") / 2, "permuted outcomes: the gain is lost"
    assert gain("shuffled") < 0.0, "shuffled rewards: no gain"
    assert min(report.bayes.final for report in reports) > 0.95
    assert max(report.constant.final for report in reports) < 0.2
    assert run_demo(tmp_path, (0, 1), DemoConfig()) == reports, "finished runs are read, not run again"


MINIATURE = DemoConfig(
    num_steps=1,
    supervised_steps=20,
    num_loops=4,
    num_laws=3,
    grpo=GRPOConfig(group_size=2, groups_per_step=2, max_new_tokens=8),
)


def test_a_run_in_miniature_reports_everything(tmp_path: Path) -> None:
    lines: list[str] = []
    report = run_once(tmp_path, 3, MINIATURE, on_progress=lines.append)
    assert lines[0] == "run 3: supervised step 1 of 20"
    assert any(line.startswith("run 3, shuffled rewards: step 1 of 1: ") for line in lines)
    assert lines[-1] == "run 3: a reflector on 3 held-out laws"
    assert len(report.rewards) == 1
    assert report.shuffled is not None
    assert len(report.untrained.online) == 4


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft calls it
def test_a_run_from_a_given_model_trains_an_adapter_on_what_the_supervised_phase_left(
    tiny_start: Path, tmp_path: Path
) -> None:
    given = MINIATURE.model_copy(update={"model": str(tiny_start), "lora_rank": 2, "supervised_steps": 2})
    report = run_once(tmp_path, 3, given)
    assert len(report.rewards) == 1
    assert (tmp_path / "start" / "config.json").exists()
    assert list((tmp_path / "trained" / "checkpoints").glob("*/adapter_config.json"))
    digests = {weights_digest(Policy.load(path)) for path in (tiny_start, tmp_path / "start")}
    assert len(digests) == 2, "the supervised phase changed the weights"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_runs_in_processes_report_what_they_report_alone(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    seen: list[int] = []
    reports = run_demo(
        tmp_path / "both", (3, 4), MINIATURE, num_processes=2, on_run=lambda report: seen.append(report.seed)
    )
    assert reports == [run_once(tmp_path / f"{seed}", seed, MINIATURE) for seed in (3, 4)]
    assert sorted(seen) == [3, 4]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_that_fails_stops_the_others(tmp_path: Path) -> None:
    (tmp_path / "seed-0").write_text("in the way of a folder")
    with pytest.raises(OSError, match="seed-0"):
        run_demo(tmp_path, (0, 1, 2), MINIATURE)
    assert not list(tmp_path.glob("seed-*/report.json"))


def test_shuffled_rewards_are_the_groups_own_in_another_order(make_gates: MakeGates) -> None:
    env = make_gates()
    (before,) = env.replay([env.default_prompt], ["law-0042/1"])
    lines = ("when the gate is oak, wait", "when the gate is iron, wait", "when the gate is glass, sing")
    replies = [f"IMPROVED PROMPT: {line}" for line in lines for _ in range(3)]
    honest: Any = MetaReward(env)(before, replies)
    assert sorted(ShuffledReward(env)(before, replies)) == sorted(honest)
    assert ShuffledReward(env).fingerprint != MetaReward(env).fingerprint


def test_a_folder_with_the_results_of_other_settings_is_refused(tmp_path: Path) -> None:
    _check_config(tmp_path / SETTINGS, MINIATURE)
    _check_config(tmp_path / SETTINGS, MINIATURE)
    for name, value in (("num_steps", MINIATURE.num_steps + 1), ("model", "smollm2-135m")):
        with pytest.raises(RunFolderError, match=f"got another {name}"):
            run_once(tmp_path, 0, MINIATURE.model_copy(update={name: value}))

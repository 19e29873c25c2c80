"""`metagym train collect`, `grpo` and `export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.actor import ChatActor
from metagym.testing import FakeChatModel
from tests.cli.conftest import Metagym
from tests.conftest import run_python

GATES = ("MetaGym/Gates-v0", "--actor", "demo", "--option", "episodes_per_step=2")


def test_collect_writes_tuples_and_resumes(command: Metagym) -> None:
    arguments = ("train", "collect", *GATES, "--reflector", "demo", "--steps", 2, "--out", "data")
    code, out, err = command(*arguments, "--loops", 2)
    assert (code, out) == (0, "4 tuples in data\n"), err
    assert command(*arguments, "--loops", 3)[1] == "6 tuples in data\n"


def test_collect_without_an_actor_or_a_reflector_says_what_to_set(command: Metagym) -> None:
    code, _, err = command("train", "collect", "MetaGym/Gates-v0", "--out", "data")
    assert code == 1
    assert "No actor is named" in err
    code, _, err = command("train", "collect", "MetaGym/Gates-v0", "--actor", "random", "--out", "data")
    assert code == 1
    assert "No reflector is named" in err


def test_collect_takes_a_method_by_name(command: Metagym) -> None:
    arguments = ("--reflector", "reflexion_style:demo", "--steps", 2, "--loops", 2)
    code, out, err = command("train", "collect", *GATES, *arguments, "--out", "data")
    assert (code, out) == (0, "4 tuples in data\n"), err


@pytest.mark.train
def test_grpo_trains_on_what_was_collected(command: Metagym, tiny_start: Path) -> None:
    command("train", "collect", *GATES, "--reflector", "demo", "--loops", 2, "--steps", 2, "--out", "data")
    arguments = (
        *("train", "grpo", *GATES, "--reflector", tiny_start, "--data", "data", "--out", "run", "-n", 2),
        *("--grpo", "group_size=2", "--grpo", "groups_per_step=2", "--grpo", "max_new_tokens=8"),
        *("--render", "metagym.training_demo.gates_problem:compact_messages"),
    )
    code, out, err = command(*arguments)
    assert code == 0, err
    assert "The trained reflector: run/checkpoints/000002" in out
    code, out, err = command("run", *GATES, "--reflector", "run/checkpoints/000002", "-n", 2)
    assert code == 0, err
    assert "episodes in runs/gates-v0-seed0" in out


@pytest.mark.train
def test_grpo_without_data_trains_on_whole_meta_episodes(command: Metagym, tiny_start: Path) -> None:
    code, out, err = command(
        *("train", "grpo", *GATES, "--reflector", tiny_start, "--out", "run", "-n", 1, "--starts", 3),
        *("--grpo", "group_size=2", "--grpo", "groups_per_step=1", "--grpo", "max_new_tokens=8"),
        *("--meta-episode", "num_turns=2", "--render", "metagym.training_demo.gates_problem:compact_messages"),
    )
    assert code == 0, err
    assert "step 1 of 1: 1 of 8 tokens sampled" in err
    assert "The trained reflector: run/checkpoints/000001" in out
    lines = [json.loads(line) for line in Path("run/samples.jsonl").read_text().splitlines()]
    assert [line["turn"] for line in lines] == [0, 0, 1, 1]


EVALUATION = (
    *("--evaluation", 'families=["law-0042"]', "--evaluation", "num_steps=1", "--evaluation", "num_seeds=2"),
    *("--evaluation", "num_validation=2", "--evaluation", "num_test=2"),
)
PRESET = """
num_steps = 1
episodes_per_step = [2]
num_seeds = 3
num_validation = 2
num_test = 3

[[environments]]
id = "MetaGym/Gates-v0"
families = ["law-0042", "law-0043"]
"""


@pytest.mark.train
def test_a_trained_reflector_is_evaluated_against_its_untrained_start(
    command: Metagym, tiny_start: Path, tmp_path: Path
) -> None:
    """The way of the documentation: train, evaluate both by one protocol, compare."""
    command("train", "collect", *GATES, "--reflector", "demo", "--loops", 2, "--steps", 2, "--out", "data")
    arguments = (
        *("train", "grpo", *GATES, "--reflector", tiny_start, "--data", "data", "--out", "run", "-n", 2),
        *("--grpo", "group_size=2", "--grpo", "groups_per_step=2", "--grpo", "max_new_tokens=8"),
        *("--render", "metagym.training_demo.gates_problem:compact_messages", "--evaluate-every", 1, *EVALUATION),
    )
    code, out, err = command(*arguments)
    assert code == 0, err
    assert [f"after {step} steps: gain on held-out families" in out for step in range(3)] == [True] * 3
    assert "paired" in command("compare", "run/evaluations/000002", "run/evaluations/000000")[1]
    (tmp_path / "held-out.toml").write_text(PRESET)
    for name, reflector in (("trained", "run/checkpoints/000002"), ("untrained", "run/start")):
        code, out, err = command(
            *("evaluate", "--preset", "held-out.toml", "--actor", "demo", "--reflector", reflector),
            *("--control", "none", "--out", name),
        )
        assert code == 0, err
    places = [next(Path(name).rglob("manifest.json")).parent for name in ("trained", "untrained")]
    code, out, err = command("compare", *places)
    assert code == 0, err
    assert "paired" in out


@pytest.mark.train
def test_turns_and_pairs_are_exported(command: Metagym, tiny_start: Path) -> None:
    command("train", "collect", *GATES, "--reflector", "demo", "--loops", 2, "--steps", 2, "--out", "data")
    command(
        *("train", "grpo", *GATES, "--reflector", tiny_start, "--data", "data", "--out", "run", "-n", 1),
        *("--grpo", "group_size=2", "--grpo", "groups_per_step=2", "--grpo", "max_new_tokens=8"),
    )
    assert command("train", "export", "run", "--out", "turns.jsonl")[:2] == (0, "4 lines in turns.jsonl\n")
    turns = [json.loads(line) for line in Path("turns.jsonl").read_text().splitlines()]
    assert {turn["role"] for turn in turns} == {"reflector"}
    code, out, err = command("train", "export", "run", "--kind", "best", "--out", "pairs.jsonl")
    assert code == 0, err
    assert out.endswith("lines in pairs.jsonl\n")


def test_actor_turns_are_exported_as_they_were_sent(command: Metagym) -> None:
    actor = ("--actor", "tests.cli.test_train:SpeakingActor")
    arguments = ("MetaGym/Gates-v0", *actor, "--option", "episodes_per_step=2")
    code, _, err = command("train", "collect", *arguments, "--reflector", "fixed", "--loops", 1, "-n", 1, "-o", "data")
    assert code == 0, err
    arguments = ("train", "export", "data", "--env", *arguments, "--out", "turns.jsonl")
    code, out, err = command(*arguments)
    assert code == 0, err
    turns = [json.loads(line) for line in Path("turns.jsonl").read_text().splitlines()]
    assert out == f"{len(turns)} lines in turns.jsonl\n"
    assert {turn["role"] for turn in turns} == {"actor"}
    assert {turn["completion"] for turn in turns} == {"Action: knock"}
    assert {turn["messages"][0]["role"] for turn in turns} == {"system"}
    assert command(*arguments, "--kind", "branches")[0] == 0
    branches = [json.loads(line) for line in Path("turns.jsonl").read_text().splitlines()]
    assert len(branches) == 4 * len(turns), "the action that was taken, and three others"
    code, _, err = command(*(word.replace("_step=2", "_step=3") for word in arguments))
    assert code == 1
    assert "Expected experience with the fingerprint" in err.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nowhere",), "Expected a training run"),
        (("nowhere", "--env", "MetaGym/Gates-v0"), "No actor is named"),
        (("nowhere", "--env", "MetaGym/Gates-v0", "--actor", "demo"), "it receives no messages"),
    ],
)
def test_a_wrong_export_is_a_sentence(command: Metagym, arguments: tuple[str, ...], problem: str) -> None:
    code, _, err = command("train", "export", *arguments, "--out", "turns.jsonl")
    assert code == 1
    assert problem in err.replace("\n", " ")


class SpeakingActor(ChatActor):
    """Says the same always."""

    def __init__(self) -> None:
        super().__init__(FakeChatModel(["Action: knock"] * 1_000))


@pytest.mark.train
@pytest.mark.parametrize(
    ("option", "problem"),
    [
        (("--evaluation", "num_seeds=2"), "but not when: add --evaluate-every N"),
        (("--evaluate-every", "1"), "Expected held-out families"),
        (("--grpo", "group_size=1"), "group_size must be at least 2, got 1"),
        (("--grpo", "groupsize=4"), "Unknown field of GRPOConfig 'groupsize'"),
        (("--reward", "on=later"), "'on' got 'later': Input should be 'same' or 'fresh'"),
        (("--reflector", "."), "Expected a causal language model"),
        (("--data", "nowhere"), "Make it: metagym train collect"),
        (("--option", "max_steps=9"), "Expected experience of this environment"),
        (("--meta-episode", "num_turns=2"), "--meta-episode is for whole meta-episodes: leave out --data"),
    ],
)
def test_a_wrong_option_is_a_sentence(
    command: Metagym, tiny_start: Path, option: tuple[str, str], problem: str
) -> None:
    command("train", "collect", *GATES, "--reflector", "demo", "--loops", 1, "--steps", 1, "--out", "data")
    code, _, err = command(
        "train", "grpo", *GATES, "--reflector", tiny_start, "--data", "data", "--out", "run", *option
    )
    assert code == 1
    assert problem in err.replace("\n", " ")
    assert "Traceback" not in err


def test_without_torch_training_names_the_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from metagym.cli import main; main()"
    done = run_python(code, "train", "demo", cwd=tmp_path)
    assert done.returncode == 1
    error = done.stderr.replace("\n", " ")
    assert "Expected the package 'torch', which is not installed. Run: pip install" in error
    assert "metagym[" not in error, "the index holds an unrelated project of that name"
    assert "Traceback" not in done.stderr


def test_the_command_line_loads_no_torch() -> None:
    done = run_python("import sys, metagym.cli; print([name for name in sys.modules if name.split('.')[0] == 'torch'])")
    assert done.stdout == "[]\n"

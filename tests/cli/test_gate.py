"""`metagym gate OLD NEW`: exit codes and the text for a pull request."""

from __future__ import annotations

import json
from pathlib import Path

from metagym.testing.fake_server import ServerReply, ServerRequest
from tests.cli.conftest import Metagym
from tests.conftest import Serve
from tests.evaluation.planted import PLAIN, right_prompt

ENV = ("--actor", "demo", "--option", 'families=["law-0007"]', "--episodes", "60")


def test_the_exit_code_says_keep_revert_or_cannot_tell(command: Metagym, tmp_path: Path) -> None:
    old, new = tmp_path / "old.md", tmp_path / "new.md"
    old.write_text(PLAIN)
    new.write_text(right_prompt("law-0007"))
    kept = command("gate", old, new, *ENV, "--markdown")
    assert kept.code == 0
    assert kept.out.startswith("**Prompt gate: keep**")
    reverted = command("gate", new, old, *ENV)
    assert reverted.code == 3
    assert reverted.out.startswith("revert: new 0.")
    unknown = command("gate", old, old, *ENV, "--json")
    assert unknown.code == 4
    assert json.loads(unknown.out)["decision"] == "cannot tell"


def test_the_plan_is_printed_before_the_first_episode(command: Metagym, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.md"
    prompt.write_text(PLAIN)
    planned = command("gate", prompt, prompt, *ENV, "--repetitions", 2, "--dry-run")
    assert (planned.code, planned.out) == (0, "")
    assert "at most 60 episodes, 0 reflections" in planned.err
    played = command("gate", prompt, prompt, *ENV, "--repetitions", 2)
    assert played.err.startswith(planned.err)
    assert "on 15 tasks" in played.out


def test_the_plan_of_too_few_episodes_shows_what_would_be_enough(command: Metagym, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.md"
    prompt.write_text(PLAIN)
    refused = command("gate", prompt, prompt, "--actor", "demo", "--dry-run")
    plan, amount, problem = refused.err.splitlines()
    assert (refused.code, plan[: plan.index(",")]) == (1, "plan: MetaGym/Gates-v0")
    assert "at most 2,592 episodes" in amount
    assert "Expected at least 2,592 episodes for two prompts on 1,296 families" in problem


def test_a_gate_that_was_stopped_pays_for_no_reply_twice(serve: Serve, command: Metagym, tmp_path: Path) -> None:
    prompt, credit = tmp_path / "prompt.md", [100]
    prompt.write_text(PLAIN)

    def respond(request: ServerRequest) -> str | ServerReply:
        credit[0] -= 1
        return "Thought: x\nAction: knock" if credit[0] >= 0 else ServerReply(status=402)

    server = serve(respond)
    options = ("--actor", f"m@{server.base_url}", *ENV[2:4], "--episodes", 20)
    stopped = command("gate", prompt, prompt, *options, "--out", "kept")
    assert stopped.code == 1
    assert "Resume with: the same command with --out kept" in stopped.err
    credit[0] = 10_000
    resumed, num_resumed = command("gate", prompt, prompt, *options, "--out", "kept"), 10_000 - credit[0]
    whole = command("gate", prompt, prompt, *options)
    assert resumed.out == whole.out
    assert 100 + num_resumed == 10_000 - credit[0] - num_resumed


def talkative(*_: object) -> str:
    """Play like nobody on the tasks of the gate."""
    return "knock at door 4711"


def test_a_prompt_that_copies_from_its_run_is_reverted(command: Metagym, tmp_path: Path) -> None:
    run, old, new = tmp_path / "run", tmp_path / "old.md", tmp_path / "new.md"
    actor = f"{__name__}:{talkative.__name__}"
    command("run", "MetaGym/Gates-v0", "--actor", actor, "--reflector", "fixed", "--steps", 1, "--out", run)
    old.write_text(PLAIN)
    new.write_text(f"{right_prompt('law-0007')}\nDo not knock at door 4711.")
    free, held = command("gate", old, new, *ENV), command("gate", old, new, *ENV, "--learned-in", run, "--markdown")
    assert (free.code, held.code) == (0, 3)
    assert held.out.startswith("**Prompt gate: revert**")
    assert "The new prompt copies from its learning episodes: 'door 4711'." in held.out


def test_a_run_that_learned_nothing_is_refused(command: Metagym, tmp_path: Path) -> None:
    prompt, run = tmp_path / "prompt.md", tmp_path / "run"
    prompt.write_text(PLAIN)
    command("run", "MetaGym/Gates-v0", "--actor", "demo", "--budget", "episodes=1", "--out", run)
    refused = command("gate", prompt, prompt, *ENV, "--learned-in", run)
    assert refused.code == 1
    assert f"Expected a run with a finished meta-step after --learned-in, got {run}" in refused.err.replace("\n", " ")

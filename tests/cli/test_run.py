"""`metagym demo`, `run` and `resume`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from metagym.models.client_config import PLACEHOLDER_KEY
from metagym.runs import LOG, RunFolder
from metagym.runs.recording import REPLIES, digest_of, read_recording
from metagym.testing import FakeOpenAIServer, ServerReply
from tests.cli.conftest import Metagym, rewards_in
from tests.conftest import Serve, run_python
from tests.test_spending_limits import respond

FIXED = ("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", "fixed", "-n", "1")


def test_your_own_reflector_is_found_in_the_folder_of_the_call(tmp_path: Path) -> None:
    """An installed script, unlike `python -m`, does not put that folder on the path."""
    (tmp_path / "lessons.py").write_text("def same(history):\n    return history[-1].prompt\n", encoding="utf-8")
    code = "import sys; sys.path[:] = filter(None, sys.path); from metagym.cli import main; main()"
    arguments = ("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", "lessons:same", "-n", "1")
    done = run_python(code, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


# demo -------------------------------------------------------------------------------------------------


def test_demo_shows_a_prompt_getting_better_and_the_folder_of_the_record(command: Metagym) -> None:
    done = command("demo")
    assert done.code == 0, done.err
    rewards = rewards_in(done.out)
    assert len(rewards) == 10
    assert sum(rewards[-3:]) / 3 >= rewards[0] + 0.3
    assert "The first prompt" in done.out
    assert "when the gate is" in done.out
    assert "SCRIPTED" in done.out
    assert "50 episodes in runs/demo-gates-v0-seed0: metagym show runs/demo-gates-v0-seed0 --step 0" in done.out
    assert len(RunFolder.open("runs/demo-gates-v0-seed0").history) == 10


def test_demo_takes_steps_seed_and_folder(command: Metagym) -> None:
    done = command("demo", "-n", 2, "--seed", 3, "--out", "mine")
    assert done.code == 0
    run = RunFolder.open("mine")
    assert (run.manifest.seed, len(run.history)) == (3, 2)


def test_a_second_demo_gets_its_own_folder(command: Metagym) -> None:
    command("demo", "-n", 1)
    assert "runs/demo-gates-v0-seed0-2" in command("demo", "-n", 1).out


def test_a_folder_that_holds_a_run_is_refused(command: Metagym) -> None:
    command("demo", "-n", 1, "--out", "mine")
    done = command("demo", "-n", 1, "--out", "mine")
    assert done.code == 1
    assert "Error: mine already holds a run." in done.err
    assert "metagym resume mine" in done.err


def test_an_unknown_environment_is_a_sentence_with_the_nearest_name(command: Metagym) -> None:
    done = command("demo", "--env", "MetaGym/Gats-v0")
    assert done.code == 1
    assert "Unknown meta-environment 'MetaGym/Gats-v0'" in done.err
    assert "Did you mean 'MetaGym/Gates-v0'" in done.err
    assert "Traceback" not in done.err


# run --------------------------------------------------------------------------------------------------


def test_run_does_not_take_a_stand_in_from_the_environment(command: Metagym, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAGYM_MODEL", "m")
    assert command("run", "MetaGym/Gates-v0").code == 1
    assert not Path("runs").exists()


def answer(request: Any) -> str:
    """Play and reflect: the reflector's instructions ask for an improved prompt."""
    if "IMPROVED PROMPT" in request.messages[0]["content"]:
        return "ANALYSIS: fine.\nIMPROVED PROMPT: Knock everywhere."
    return "Thought: so be it\nAction: knock"


def test_run_drives_actor_and_reflector_on_one_server(command: Metagym, serve: Serve) -> None:
    server = serve(answer)
    done = command(
        *("run", "MetaGym/Gates-v0", "--actor", f"m@{server.base_url}", "--steps", 2),
        *("--option", 'families=["law-0000"]', "--option", "episodes_per_step=2", "--out", "mine"),
    )
    assert done.code == 0, done.err
    assert rewards_in(done.out) == [1.0, 1.0]
    assert "Knock everywhere." in done.out
    assert "SCRIPTED" not in done.out
    run = RunFolder.open("mine")
    assert not run.manifest.scripted
    assert run.manifest.env_options["actor"] == {"model": "m", "base_url": server.base_url}
    assert run.manifest.reflector == {"model": "m", "base_url": server.base_url}
    assert {request.headers["Authorization"] for request in server.requests} == {f"Bearer {PLACEHOLDER_KEY}"}


def test_run_takes_another_model_and_server_for_the_reflector(command: Metagym, serve: Serve) -> None:
    actor, reflector = serve("Action: knock"), serve("IMPROVED PROMPT: Other.")
    done = command(
        *("run", "MetaGym/Gates-v0", "--actor", f"small@{actor.base_url}", "-n", 2),
        *("--reflector", f"big@{reflector.base_url}", "--out", "mine"),
    )
    assert done.code == 0, done.err
    assert {request.body["model"] for request in actor.requests} == {"small"}
    assert {request.body["model"] for request in reflector.requests} == {"big"}
    assert reflector.requests[0].body["max_tokens"] == 8_192


def test_sampling_reaches_the_server_for_each_role(command: Metagym, serve: Serve) -> None:
    server = serve(answer)
    done = command(
        *("run", "MetaGym/Gates-v0", "--actor", f"m@{server.base_url}", "-n", 2, "--option", "episodes_per_step=1"),
        *("--sampling", "temperature=0.25,max_tokens=60", "--reflector-sampling", 'max_tokens=700,stop=["a,b"]'),
    )
    assert done.code == 0, done.err
    sent = {
        (item.body.get("temperature"), item.body["max_tokens"], tuple(item.body["stop"])) for item in server.requests
    }
    assert f"actor: m at {server.base_url}, max_tokens=60, temperature=0.25; all other sampling" in done.err
    assert f"reflector: m at {server.base_url}, max_tokens=700, stop=['a,b']; all other sampling" in done.err
    assert sent == {(0.25, 60, ("\nObservation:",)), (None, 700, ("a,b",))}


def test_a_server_that_needs_a_key_gets_the_one_that_the_file_names(
    command: Metagym, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(answer)
    monkeypatch.setenv("ITS_KEY", "the-key")
    model = {"model": "m", "base_url": server.base_url, "api_key_env": "ITS_KEY"}
    Path("model.json").write_text(json.dumps(model), encoding="utf-8")
    assert command("run", "MetaGym/Gates-v0", "--actor", "model.json", "-n", 1).code == 0
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer the-key"}


def test_run_takes_the_first_prompt_as_text_or_from_a_file(command: Metagym) -> None:
    Path("prompt.txt").write_text("Mine, with é.", encoding="utf-8")
    assert "Mine, with é." in command(*FIXED, "--option", "first_prompt=@prompt.txt").out
    assert "Be quick." in command(*FIXED, "--option", "first_prompt=Be quick.").out


@pytest.mark.parametrize("text", ["123", "null", '"quoted"', "", "1.50"])
def test_a_first_prompt_that_is_also_json_stays_as_it_is(command: Metagym, text: str) -> None:
    assert command(*FIXED, "--option", f"first_prompt={text}", "--out", "run").code == 0
    assert json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))["first_prompt"] == text


@pytest.mark.parametrize("name", ["no-such-file.txt", "broken.txt"])
def test_a_prompt_file_that_cannot_be_read_is_a_sentence(command: Metagym, name: str) -> None:
    Path("broken.txt").write_bytes(b"\xff\xfe")
    done = command(*FIXED, "--option", f"first_prompt=@{name}")
    assert done.code == 1
    assert f"--option first_prompt expects a file of text in UTF-8, got {name}" in done.err


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("episodes_per_step", "--option expects NAME=VALUE, got 'episodes_per_step'"),
        ("episodes_per_step=0", "Option 'episodes_per_step' got 0"),
        ("episodes=3", "Unknown option 'episodes': expected one of"),
        ("split=trian", "Unknown split 'trian'"),
        ("families=law-0001", "families must be a list of names"),
        ("actor=random", "'actor' is not an option of the environment: write --actor SPEC"),
        ("budget=3", "'budget' is not an option of the environment: write --budget tokens=N"),
        ("on_episode=print", "'on_episode' is not an option of the environment: it is a function"),
        ("max_episode_steps=3", "'max_episode_steps' is not an option of the environment: the number of meta-steps"),
        ("render_mode=ansi", "'render_mode' is not an option of the environment: `metagym show RUN"),
    ],
)
def test_an_option_that_cannot_be_taken_is_a_sentence(command: Metagym, option: str, problem: str) -> None:
    done = command(*FIXED, "--option", option)
    assert done.code == 1
    assert problem in done.err
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("quick_retries")
def test_a_run_that_a_server_stopped_says_how_to_resume_and_resuming_works(command: Metagym, serve: Serve) -> None:
    down = [True]
    server = serve(lambda request: ServerReply(status=500) if down[0] else answer(request))
    options = ("--actor", f"m@{server.base_url}", "--option", "episodes_per_step=2", "-n", 2)
    done = command("run", "MetaGym/Gates-v0", *options, "--out", "mine")
    assert done.code == 1
    assert "What was played is in mine. Resume with: metagym resume mine" in done.err
    assert "2 of 2 episodes failed" in done.err
    down[0] = False
    done = command("resume", "mine")
    assert done.code == 0, done.err
    assert len(rewards_in(done.out)) == 2


def test_resume_completes_the_same_log(command: Metagym) -> None:
    command("demo", "-n", 4, "--out", "mine")
    log = Path("mine") / LOG
    complete = log.read_bytes()
    log.write_bytes(complete[: len(complete) // 2])
    assert command("resume", "mine").code == 0
    assert log.read_bytes() == complete


def test_a_method_by_name_keeps_its_memory_and_resumes(command: Metagym) -> None:
    arguments = ("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", "ace_style:demo")
    done = command(*arguments, "--steps", 3, "--seed", 1, "--out", "r")
    assert done.code == 0, done.err
    assert rewards_in(done.out)[-1] == 1.0
    assert "SCRIPTED" in done.out
    with RunFolder.open("r") as run:
        assert run.manifest.reflector == {"method": "ace_style", "model": "demo"}
        assert run.history[-1].reflection is not None
        assert run.history[-1].reflection.memory["items"]
    assert command("resume", "r").out == done.out


# budget and replay ------------------------------------------------------------------------------------


def arguments(server: FakeOpenAIServer, *more: object) -> list[object]:
    options = ["--option", "episodes_per_step=2", "--steps", 3, "--out", "run"]
    return ["run", "MetaGym/Gates-v0", "--actor", f"m@{server.base_url}", *options, *more]


def test_run_stops_at_its_budget_and_resumes_with_a_larger_one(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    stopped = command(*arguments(server, "--budget", "calls=20"))
    assert stopped.code == 1
    assert "The budget of 20 calls is spent" in stopped.err
    assert "Resume with: metagym resume run" in stopped.err
    assert len(server.requests) == 20
    again = command("resume", "run")
    assert (again.code, len(server.requests)) == (1, 20)
    done = command("resume", "run", "--budget", "calls=100_000")
    assert done.code == 0, done.err
    assert len(RunFolder.open(Path("run")).history) == 3


def test_a_run_replays_without_its_server(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    assert command(*arguments(server)).code == 0
    num_calls = len(server.requests)
    assert command(*arguments(server, "--option", "replay=run/replies.sqlite", "--out", "again")).code == 0
    assert len(server.requests) == num_calls
    first, second = (sorted(Path(name, "log.jsonl").read_bytes().splitlines()) for name in ("run", "again"))
    assert first == second


# The recorded run -------------------------------------------------------------------------------------


def test_the_recorded_run_needs_no_model_and_is_not_called_scripted(command: Metagym) -> None:
    done = command("demo", "--recorded", "--out", "run")
    assert done.code == 0
    assert done.err.startswith("A language model made this run, and its recorded replies are played.")
    assert "SCRIPTED" not in done.out + done.err
    assert command("verify", "run").code == 0


def test_the_recorded_run_takes_no_other_options(command: Metagym) -> None:
    done = command("demo", "--recorded", "--steps", 3)
    assert done.code == 1
    assert "--recorded plays one run as it was" in done.err


def test_a_local_run_replays_without_its_model(command: Metagym) -> None:
    manifest = read_recording().manifest
    Path("replies.sqlite").write_bytes(gzip.decompress(REPLIES.read_bytes()))
    options = dict(manifest.env_options)
    for name, spec in (("actor", options.pop("actor")), ("reflector", manifest.reflector)):
        Path(f"{name}.json").write_text(json.dumps({key: spec[key] for key in spec if key != "recorded"}))
    arguments = ["--actor", "actor.json", "--reflector", "reflector.json", "--option", "replay=replies.sqlite"]
    for name, value in options.items():
        arguments += ["--option", f"{name}={json.dumps(value)}"]
    done = command("run", manifest.env_id, *arguments, "--steps", manifest.num_steps, "--out", "run")
    assert done.code == 0, done.err
    assert digest_of(RunFolder.open(Path("run")).history) == read_recording().digest

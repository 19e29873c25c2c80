"""`metagym watch`: on a run that goes on, in a pipe and in a terminal; it ends with the run, or by a key."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from metagym import cli
from metagym.cli import watch
from metagym.errors import ConfigError, RunFolderError
from metagym.runs import LOG, Manifest, RunFolder
from metagym.runs.watching import Watched
from metagym.types import Reflection
from tests.conftest import SRC, make_episode, make_meta_step, make_trajectory

MANIFEST = Manifest(env_id="MetaGym/Gates-v0", reflector="fixed", seed=0, num_steps=2, scripted=True)


def invoke(*arguments: object) -> Any:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["watch", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.create(tmp_path / "run", MANIFEST) as run:
        yield run


def play(run: RunFolder, index: int) -> None:
    trajectory = make_trajectory(episode=make_episode(meta_step=index))
    run.record_episode(trajectory)
    run.put(index, make_meta_step([trajectory], index=index))
    run.put(("", index), Reflection(prompt="Be braver."))


# Once -------------------------------------------------------------------------------------------------


def test_once_prints_the_state_and_leaves(run: RunFolder) -> None:
    play(run, 0)
    result = invoke(run.path, "--once")
    assert result.exit_code == 0
    for part in ("run  MetaGym/Gates-v0  running  SCRIPTED", "meta-step 1 of 2", "1 episodes", "score        █  1.00"):
        assert part in result.output
    assert "\x1b" not in result.output


def test_once_as_json_is_the_state(run: RunFolder) -> None:
    play(run, 0)
    state = Watched.model_validate(json.loads(invoke(run.path, "--once", "--json").output))
    assert (state.status, state.runs[0].num_episodes, state.runs[0].scripted) == ("running", 1, True)
    with pytest.raises(ConfigError, match=r"--json prints one state: write --once --json"):
        invoke(run.path, "--json")


def test_a_place_without_a_run_is_an_error_and_waited_for_only_when_following(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PATIENCE_S", 0.0)
    with pytest.raises(RunFolderError, match=r"Expected a run folder .*, or a folder of them, at .*nowhere"):
        invoke(tmp_path / "nowhere", "--once")
    with pytest.raises(RunFolderError, match=r"Expected a run folder"):
        invoke(tmp_path / "nowhere")


# In a pipe --------------------------------------------------------------------------------------------


def follow(path: Path, **options: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(SRC.parent), **options.pop("env", {})}
    command = [sys.executable, "-m", "metagym", "watch", str(path)]
    return subprocess.Popen(
        command, env=environment, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    )


def read_until(stream: Any, wanted: bytes) -> bytes:
    """Read a pipe or a terminal until it has said `wanted`."""
    found = b""
    while wanted not in found:
        piece = os.read(stream if isinstance(stream, int) else stream.fileno(), 65_536)
        assert piece, found.decode()
        found += piece
    return found


def test_a_pipe_gets_a_line_per_change_and_ends_with_the_run(run: RunFolder) -> None:
    with follow(run.path) as following:
        output = read_until(following.stdout, b"meta-step 0 of 2")
        play(run, 0)
        output += read_until(following.stdout, b"meta-step 1 of 2")
        play(run, 1)
        rest, problems = following.communicate(timeout=60)
        output += rest
    assert (following.returncode, problems) == (0, b"")
    lines = output.decode().splitlines()
    assert [line[: line.index(",")] for line in lines] == ["run: running"] * (len(lines) - 1) + ["run: finished"]
    assert all(line.endswith("SCRIPTED") for line in lines)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", output.decode())


def test_a_folder_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    with follow(tmp_path / "run") as following:
        output = read_until(following.stderr, b"waiting for it")
        assert output.startswith(b"There is no run at")
        with RunFolder.create(tmp_path / "run", MANIFEST) as run:
            play(run, 0)
            play(run, 1)
            out, _ = following.communicate(timeout=60)
    assert following.returncode == 0
    assert b"run: finished" in out


def test_a_run_that_stopped_ends_in_exit_code_1(run: RunFolder, tmp_path: Path) -> None:
    play(run, 0)
    run.close()
    past = time.time() - 3_600
    for file in run.path.iterdir():
        os.utime(file, (past, past))
    result = invoke(run.path)
    assert result.exit_code == 1
    assert result.output.startswith("run: stopped, meta-step 1 of 2")


@pytest.mark.slow
def test_a_run_whose_folder_is_deleted_ends(run: RunFolder) -> None:
    with follow(run.path) as following:
        read_until(following.stdout, b"running")
        for file in run.path.iterdir():
            file.unlink()
        run.path.rmdir()
        out, _ = following.communicate(timeout=60)
    assert following.returncode == 1
    assert b"The run no longer exists" in out


# In a terminal ----------------------------------------------------------------------------------------

needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal there")


@pytest.fixture
def in_terminal() -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], int]]]:
    import pty

    opened: list[int] = []

    def start(path: Path, *, stdin: int | None = None, **env: str) -> tuple[subprocess.Popen[bytes], int]:
        ours, theirs = pty.openpty()
        opened.extend((ours, theirs))
        streams = {"stdin": theirs if stdin is None else stdin, "stdout": theirs, "stderr": theirs}
        return follow(path, start_new_session=True, env={"TERM": "xterm", **env}, **streams), ours

    yield start
    for handle in opened:
        os.close(handle)


@pytest.mark.slow
@needs_terminal
def test_q_leaves_a_run_that_goes_on_and_the_terminal_as_it_was(run: RunFolder, in_terminal: Any) -> None:
    import termios

    following, terminal = in_terminal(run.path, COLUMNS="80")
    before = termios.tcgetattr(terminal)
    assert b"q leaves" in read_until(terminal, b"q leaves")
    os.write(terminal, b"q")
    assert following.wait(timeout=60) == 0
    assert termios.tcgetattr(terminal) == before
    assert run.is_writing


@pytest.mark.slow
@needs_terminal
def test_ctrl_c_leaves_with_130_and_without_a_traceback(run: RunFolder, in_terminal: Any) -> None:
    following, terminal = in_terminal(run.path)
    read_until(terminal, b"q leaves")
    following.send_signal(signal.SIGINT)
    assert following.wait(timeout=60) == 130
    assert b"Traceback" not in os.read(terminal, 65_536)


@needs_terminal
def test_a_terminal_without_a_keyboard_is_drawn_on_all_the_same(run: RunFolder, in_terminal: Any) -> None:
    play(run, 0)
    play(run, 1)
    following, terminal = in_terminal(run.path, stdin=subprocess.DEVNULL)
    assert b"finished" in read_until(terminal, b"SCRIPTED: a script")
    assert following.wait(timeout=60) == 0


@pytest.mark.slow
@needs_terminal
def test_a_dumb_terminal_gets_plain_lines(run: RunFolder, in_terminal: Any) -> None:
    play(run, 0)
    play(run, 1)
    following, terminal = in_terminal(run.path, TERM="dumb")
    output = read_until(terminal, b"run: finished")
    assert following.wait(timeout=60) == 0
    assert b"\x1b" not in output


@pytest.mark.slow
def test_a_terminal_that_knows_ascii_only_gets_ascii(run: RunFolder) -> None:
    play(run, 0)
    play(run, 1)
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    with follow(run.path, env=env) as following:
        out, problems = following.communicate(timeout=60)
    assert (following.returncode, problems) == (0, b"")
    command = [sys.executable, "-m", "metagym", "watch", str(run.path), "--once"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(SRC.parent), **env}, capture_output=True, timeout=60, check=True
    )
    assert (out + done.stdout).isascii()
    assert b"score        99" in done.stdout


def test_the_log_is_not_touched_by_watching(run: RunFolder) -> None:
    play(run, 0)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.iterdir()}
    invoke(run.path, "--once")
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.iterdir()} == before
    assert LOG in before

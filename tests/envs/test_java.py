"""The Java machine of a game ends with its environment, and with a program that is killed."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metagym.envs.java import JavaMachine
from metagym.envs.textworldexpress.env import TextWorldExpressEnv
from metagym.registration import NEEDS
from tests.conftest import SRC

pytestmark = [pytest.mark.java, pytest.mark.slow]
TEXTWORLD, SCIENCE = ("MetaGym/TextWorldExpress-v0", "simonsays"), ("MetaGym/ScienceWorld-v0", "find-plant")
PARENT = """
import sys, time
import metagym
env = metagym.make(sys.argv[1], actor="demo", families=[sys.argv[2]], workers=eval(sys.argv[3]))
env.reset(seed=0)
env.step("Play.")
print("played", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(("world", "family", "workers"), [(*TEXTWORLD, "'local'"), (*TEXTWORLD, "1"), (*SCIENCE, "1")])
def test_the_java_machines_end_with_a_program_that_is_killed(
    world: str, family: str, workers: str, tmp_path: Path
) -> None:
    pytest.importorskip(NEEDS[world][1], reason=f"needs the extra {NEEDS[world][0]}")
    marked = {**os.environ, "PYTHONPATH": str(SRC.parent), "PLAYED_IN": str(tmp_path)}
    command = [sys.executable, "-c", PARENT, world, family, workers]
    with subprocess.Popen(command, env=marked, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "played\n"
        assert "java" in processes_of(tmp_path)
        parent.kill()
    deadline = time.monotonic() + 10
    while (left := processes_of(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def processes_of(mark: Path) -> list[str]:
    """Return the programs of the processes that have this mark in their environment."""
    wanted, found = f"PLAYED_IN={mark}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "comm").read_text().strip())
        except OSError:  # it has just ended
            continue
    return found


def test_the_java_machine_ends_with_its_environment() -> None:
    pytest.importorskip("textworld_express", reason="needs the extra textworld-express")
    env = TextWorldExpressEnv()
    env.reset(options={"task_id": "coin/1"})
    assert env._game is not None
    machine = env._game.machine.pid
    os.kill(machine, 0)
    env.close()
    with pytest.raises(ProcessLookupError):
        os.kill(machine, 0)


def test_an_object_that_is_collected_after_its_machine_sends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip(NEEDS[TEXTWORLD[0]][1], reason=f"needs the extra {NEEDS[TEXTWORLD[0]][0]}")
    caplog.set_level(logging.DEBUG, logger="py4j")
    machine = JavaMachine("textworld-express", "textworld-express.jar")
    thing = machine.jvm.java.util.ArrayList()
    del machine
    gc.collect()
    caplog.clear()
    del thing
    gc.collect()
    assert "refused" not in caplog.text
    assert "Exception" not in caplog.text

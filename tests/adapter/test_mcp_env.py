"""Worlds of tools over MCP servers: one of the SDK's own kind (the example's), and one that is plain and odd."""

from __future__ import annotations

import copy
import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import metagym
from metagym.adapter import McpEnv
from metagym.adapter.mcp_session import McpResult, McpSession
from metagym.errors import ConfigError, InnerEnvError, MissingExtraError, ToolError
from metagym.testing import ScriptedActor, check_meta_env, check_text_env
from metagym.tools import ToolCall, tools_problem
from tests.conftest import ROOT, SRC

PLAIN = [sys.executable, str(Path(__file__).with_name("plain_server.py"))]
TANK = [sys.executable, str(ROOT / "examples" / "environments" / "servers" / "tank.py")]
HAS_MCP = importlib.util.find_spec("mcp") is not None


def needs_mcp(test: Any) -> Any:
    """Mark a test that starts a server."""
    missing = pytest.mark.skipif(not HAS_MCP, reason="needs the extra metagym[mcp]")
    return pytest.mark.mcp(pytest.mark.slow(missing(test)))


class Plain(McpEnv):
    """Ask the plain server; a text ends the episode."""

    timeout_s = 20.0

    def command(self, family: str) -> Sequence[str]:
        return PLAIN

    def start(self, family: str) -> str:
        self.wanted = int(self.np_random.integers(50))
        return f"Read the file {self.wanted}."

    def score(self) -> bool:
        return self.calls[-1:] != [] and self.calls[-1].result == f"files/read.text of {self.wanted}"


class PlainMetaEnv(metagym.MetaEnv):
    make_inner_env = staticmethod(Plain)

    def make_task_set(self) -> metagym.TaskSet:
        return metagym.TaskSet.from_seeds(Plain, 200, digest=lambda env, task: str(task.seed))


class TamePlain(Plain):
    """Without the tools that differ from process to process."""

    environment = {"TAME": "1"}


class TameMetaEnv(PlainMetaEnv):
    make_inner_env = staticmethod(TamePlain)


class Tank(McpEnv):
    """Pump until the tank holds 8 litres."""

    def command(self, family: str) -> Sequence[str]:
        return [*TANK, "2"]

    def start(self, family: str) -> str:
        return f"The tank shall hold 8 litres, and holds {self.call_server('read_level')}."

    @metagym.tool
    def stop(self) -> None:
        """End the work."""
        self.finish("stopped")

    def score(self) -> float:
        return int(self.call_server("read_level")) / 8


def call(name: str, **arguments: Any) -> str:
    return ToolCall(name, arguments).text


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended, and that nobody has reaped, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(pid: int) -> bool:
    """Wait until a process has ended, for 10 seconds at most."""
    for _ in range(200):
        if not is_alive(pid):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def session() -> Iterator[McpSession]:
    found = McpSession(PLAIN, environment={"INK": "black"}, timeout_s=20.0)
    yield found
    found.close()


@needs_mcp
def test_the_tools_of_all_pages_are_offered_by_names_that_models_take(session: McpSession) -> None:
    names = [tool["function"]["name"] for tool in session.tools]
    assert names == ["pid", "files_read_text", "picture", "fields", "refuse", "hang", "die"]
    assert tools_problem(session.tools) == ""


@needs_mcp
@pytest.mark.parametrize(
    ("name", "path", "result"),
    [
        ("files_read_text", "a", McpResult("files/read.text of a", is_error=False)),
        ("picture", "a", McpResult("Look:\n[image, image/png]", is_error=False)),
        ("fields", "a", McpResult('{"level": 3}', is_error=False)),
        ("refuse", "a", McpResult("no such thing", is_error=True)),
        ("refuse", "busy", McpResult("no such thing", is_error=True)),  # the code of a lost connection, and it is not
    ],
)
def test_a_result_is_a_text_and_a_refusal_is_data(session: McpSession, name: str, path: str, result: McpResult) -> None:
    assert session.call(name, {"path": path}) == result


@needs_mcp
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hang", "did not answer 'hang' within 1 s"),
        ("die", "(?s)did not answer 'die': Connection closed. The end of its log:.*no ink left"),
    ],
)
def test_a_server_that_is_silent_or_gone_is_an_infrastructure_error(name: str, message: str) -> None:
    found = McpSession(PLAIN, environment={}, timeout_s=5.0)
    found._timeout_s = 1.0  # the start may take longer
    pid = int(found.call("pid", {}).text)
    with pytest.raises(InnerEnvError, match=message):
        found.call(name, {})
    assert ends(pid)


@needs_mcp
@pytest.mark.parametrize(
    ("code", "timeout_s", "message"),
    [
        ("import sys; sys.exit('no ink left')", 20.0, "(?s)did not start: .*Connection closed.*no ink left"),
        ("import time; time.sleep(600)", 1.0, "did not answer within 1 s"),
    ],
)
def test_a_server_that_does_not_start_shows_its_log(code: str, timeout_s: float, message: str) -> None:
    with pytest.raises(InnerEnvError, match=message):
        McpSession([sys.executable, "-c", code], environment={}, timeout_s=timeout_s)


def test_a_tool_does_not_replace_what_the_environment_needs() -> None:
    class Replaces(Plain):
        @metagym.tool
        def command(self) -> str:  # type: ignore[override]
            """Look."""
            return "Nothing."

    with pytest.raises(ConfigError, match="Expected a name of a tool that McpEnv does not use itself, got 'command'"):
        Replaces()


@needs_mcp
def test_a_tool_with_the_name_of_a_tool_of_the_server_is_refused() -> None:
    class Twice(Plain):
        @metagym.tool
        def picture(self) -> str:
            """Look."""
            return "Nothing."

    env = Twice()
    with pytest.raises(ConfigError, match=r"Expected the tools of Twice .* its server, got 'picture' in both\. Give"):
        env.reset(seed=0)
    env.close()


@needs_mcp
def test_only_named_variables_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code = 'import os, sys; sys.exit(f\'{os.environ.get("OPENAI_API_KEY")} {os.environ["INK"]}\')'
    with pytest.raises(InnerEnvError, match="None black"):
        McpSession([sys.executable, "-c", code], environment={"INK": "black"}, timeout_s=20.0)


@needs_mcp
def test_an_episode_has_a_new_server_that_ends_with_it() -> None:
    env = Plain()
    pids = []
    for _ in range(2):
        text, info = env.reset(seed=0)
        assert info["tools"][0]["function"]["name"] == "pid"
        pids.append(int(env.call_server("pid")))
        path = text.split()[-1].rstrip(".")
        assert env.step(call("files_read_text", path=path))[0] == f"files/read.text of {path}"
        assert env.step("Done.") == ("", 1.0, True, False, {"success": True})
        assert ends(pids[-1])
    assert pids[0] != pids[1]
    env.reset()
    pid = int(env.call_server("pid"))
    env.close()
    env.close()
    assert ends(pid)


@needs_mcp
def test_a_world_over_a_server_keeps_both_contracts() -> None:
    check_text_env(TamePlain())
    check_meta_env(TameMetaEnv, episodes_per_step=2, max_steps=3)


@needs_mcp
def test_the_score_may_ask_the_server_and_own_tools_are_added() -> None:
    env = Tank()
    text, info = env.reset(seed=0)
    assert text == "The tank shall hold 8 litres, and holds 0."
    assert [tool["function"]["name"] for tool in info["tools"]] == ["pump", "read_level", "stop"]
    assert env.step(call("pump", litres=8))[:2] == ("Pumped.", 0.0)
    assert env.step(call("pump", litres="much"))[0].startswith("Error: ")
    assert env.step(call("pmup"))[0] == "Error: There is no tool 'pmup'. Did you mean 'pump'?"
    assert [item.is_error for item in env.calls] == [False, True]
    with pytest.raises(ToolError, match="much"):
        env.call_server("pump", litres="much")
    assert env.step(call("stop"))[:3] == ("Done.", 0.5, True)


@needs_mcp
def test_a_copy_has_no_server_and_needs_a_reset() -> None:
    with Plain() as env:
        text, _ = env.reset(seed=0)
        for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
            with pytest.raises(Exception, match=r"Expected reset\(\) before a call"):
                twin.step(call("pid"))
            with twin:
                assert twin.reset(seed=0)[0] == text
        assert int(env.step(call("pid"))[0]) > 0


@needs_mcp
def test_worker_processes_play_the_same() -> None:
    played: list[Any] = []
    options: list[Any] = ["local", 2]
    for workers in options:
        actor = ScriptedActor([call("files_read_text", path="7"), "Done."])
        with PlainMetaEnv(actor, episodes_per_step=3, workers=workers) as env:
            env.reset(seed=0)
            played.append(env.step("Read.")[:2])
    assert played[0] == played[1]
    assert played[0][0][0].steps[1].observation.text == "files/read.text of 7"


SCRIPT = """
import sys, time
sys.path[:0] = {paths!r}
from tests.adapter.test_mcp_env import Plain
env = Plain()
env.environment = {{"STAY": "1"}}
env.reset(seed=0)
print(env.call_server("pid"), flush=True)
{then}
"""


def running(then: str) -> subprocess.Popen[str]:
    script = SCRIPT.format(paths=[str(ROOT), str(SRC.parent)], then=then)
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, text=True)


@needs_mcp
def test_no_server_is_left_by_a_parent_that_is_killed() -> None:
    with running("time.sleep(600)") as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
    assert ends(pid)


@needs_mcp
def test_a_script_that_forgets_to_close_exits_quietly() -> None:
    parent = running("")
    out, errors = parent.communicate(timeout=60)
    assert (parent.returncode, errors) == (0, "")
    assert ends(int(out))


@needs_mcp
def test_paths_and_numbers_may_be_words_of_a_command_and_values_of_variables() -> None:
    code = "import os, sys; sys.exit(f'{sys.argv[1:]} {os.environ[\"INK\"]}')"
    command: Any = iter([Path(sys.executable), "-c", code, 7, 0.5, Path("a")])
    with pytest.raises(InnerEnvError, match=r"\['7', '0.5', 'a'\] 3"):
        McpSession(command, environment={"INK": 3}, timeout_s=20.0)


def test_a_word_that_is_no_text_path_or_number_is_refused() -> None:
    odd: Any = None
    with pytest.raises(ConfigError, match="command takes texts, paths and numbers, got None"):
        McpSession([sys.executable, odd], environment={}, timeout_s=1.0)
    with pytest.raises(
        ConfigError, match=r"environment\['INK'\] takes texts, paths and numbers, got None. Leave it out"
    ):
        McpSession([sys.executable], environment={"INK": odd}, timeout_s=1.0)


def test_a_command_that_cannot_be_right_is_refused() -> None:
    odd: Any = (None, 5, {"python": "server.py"}, iter([]), b"python server.py")
    for command in ("python server.py", [], *odd):
        with pytest.raises(ConfigError, match="command must be a list of a program and its arguments"):
            McpSession(command, environment={}, timeout_s=1.0)
    with pytest.raises(ConfigError, match="There is no program '/no/such/program'"):
        McpSession(["/no/such/program"], environment={}, timeout_s=1.0)


def test_command_must_be_written() -> None:
    with pytest.raises(NotImplementedError, match="Expected McpEnv to override command"):
        McpEnv().reset(seed=0)


def test_the_missing_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(
        MissingExtraError, match=r"Expected the package 'mcp', which is not installed. Run: pip install .*mcp"
    ):
        Plain().reset(seed=0)

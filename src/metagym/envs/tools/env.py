"""The inner environment: a user who asks for one thing after another, and the functions of one or two APIs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import gymnasium

from metagym.envs.tools.benchmark import (
    announcement,
    execute,
    has_responses,
    load_tasks,
    start_world,
    state_problem,
)
from metagym.errors import UnknownNameError, check_started
from metagym.spaces import TextSpace
from metagym.tools import ToolCall, call_problem, read_call

Check = Literal["state", "calls"]
GOAL = (
    "Do what the user asks for, by calling functions. When a request is done, or cannot be done, say so in words: that "
    "ends your turn, and what you did is judged. The user answers no questions."
)


def check_name(check: str) -> None:
    """Raise UnknownNameError unless `check` names a check."""
    if check not in get_args(Check):
        raise UnknownNameError.of("check", check, get_args(Check))


class ToolsEnv(gymnasium.Env[str, str]):
    """A multi-turn task of BFCL. A call returns its result; a text ends the agent's turn, and the user speaks again.

    After each turn the benchmark's own check compares the state of the APIs, and the results, with those of the right
    calls (`check="state"`); `check="calls"` wants exactly the right calls, in their order. The first turn that is wrong
    ends the episode; the last right one is the success. `progress` is the share of turns that were right.
    There is no chance in a task.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]

    def __init__(self, *, check: Check = "state") -> None:
        check_name(check)
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()
        self._check = check

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the task `options["task_id"]`; without an id, draw one."""
        super().reset(seed=seed)
        tasks = load_tasks()
        task_id = (options or {}).get("task_id") or list(tasks)[int(self.np_random.integers(len(tasks)))]
        if task_id not in tasks:
            raise UnknownNameError.of("task id", task_id, tasks)
        self._task, self._turn = tasks[task_id], 0
        self._world, self._wanted = start_world(self._task), start_world(self._task)
        self._all_tools = self._task.tools
        self._results: list[str] = []
        self._calls: list[ToolCall] = []
        self._tools = self._tools_now()
        return self._task.requests[0], self._info(tools=self._tools)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute a call, or end the turn with a text."""
        check_started(self, "_task")
        call = read_call(action)
        if call is None:
            return self._end_turn()
        if problem := call_problem(call, self._tools):
            return f"Error during execution: {problem}", 0.0, False, False, self._info()
        result = execute(self._world, call)
        self._calls.append(call)
        self._results.append(result)
        return result, 0.0, False, False, self._info()

    def _end_turn(self) -> tuple[str, float, bool, bool, dict[str, Any]]:
        problem = self._turn_problem()
        number, total = self._turn + 1, len(self._task.requests)
        if problem:
            outcome = f"turn {number} of {total}: {problem}"
            return "The user is not content.", 0.0, True, False, self._info(outcome=outcome)
        self._turn += 1
        self._calls = []
        if self._turn == total:
            info = self._info(success=True, outcome=f"all {total} turns were right")
            return "The user has all that was wanted.", 1.0, True, False, info
        before, self._tools = self._tools, self._tools_now()
        changed = {} if self._tools == before else {"tools": self._tools}
        return self._task.requests[self._turn] or announcement(), 0.0, False, False, self._info(**changed)

    def _turn_problem(self) -> str:
        right = self._task.solution[self._turn]
        wanted = [execute(self._wanted, call) for call in right]
        if self._check == "calls" and self._calls != list(right):
            return "the calls are not exactly the right ones"
        if not right:
            return ""  # the benchmark looks at the next turn
        if not self._calls:
            return "no function was called"
        if wrong := state_problem(self._world, self._wanted):
            return f"the state of {wrong} is not as it should be"
        return "" if has_responses(self._results, wanted) else "a result that is needed is missing"

    def _tools_now(self) -> tuple[dict[str, Any], ...]:
        later = {name for turn, names in self._task.added.items() if turn > self._turn for name in names}
        return tuple(tool for tool in self._all_tools if tool["function"]["name"] not in later)

    def _info(self, **extra: Any) -> dict[str, Any]:
        progress = self._turn / len(self._task.requests)
        return {"goal": GOAL, "success": False, "progress": progress, **extra}

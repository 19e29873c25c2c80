"""A world of tools over an MCP server: servers/tank.py, which is started for each episode."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import metagym
from metagym.adapter import McpEnv
from metagym.tools import ToolCall

SERVER = Path(__file__).parent / "servers" / "tank.py"  # any server over standard input and output, in any language


class Tank(McpEnv):
    """Fill a tank. The pump brings only a part of what it is asked for, and its description does not say so."""

    def command(self, family: str) -> Sequence[str]:  # a new server for each episode
        return [sys.executable, str(SERVER), {"half": "2", "third": "3"}.get(family, "1")]

    def start(self, family: str) -> str:
        self.wanted = 6 * int(self.np_random.integers(1, 20))
        return f"The tank is empty. It shall hold {self.wanted} litres."

    def score(self) -> bool:  # when the agent has written its answer: by the state of the server
        return int(self.call_server("read_level")) == self.wanted


class TankMetaEnv(metagym.MetaEnv):
    default_prompt = "You fill a tank."
    make_inner_env = staticmethod(Tank)

    def make_task_set(self) -> metagym.TaskSet:
        # Without `digest` the first observation would be read, from a server for each seed.
        return metagym.TaskSet.from_seeds(
            Tank, 200, families=["half", "third"], digest=lambda env, task: str(task.seed)
        )


def pump_once(episode: Any, steps: Any, observation: Any) -> str:  # a scripted actor, in place of a model
    if steps:
        return "It is done."
    litres = int(observation.text.split()[-2])
    return ToolCall("pump", {"litres": 2 * litres if "twice" in episode.prompt else litres}).text


def main() -> None:
    with TankMetaEnv(pump_once, families=["half"], episodes_per_step=1) as env:
        env.reset(seed=0)
        for prompt in (env.default_prompt, "You fill a tank. Ask the pump for twice as much."):
            (trajectory,), reward, *_ = env.step(prompt)
            print(f"{prompt} -> {trajectory.steps[0].command}, score {reward}")


if __name__ == "__main__":
    main()

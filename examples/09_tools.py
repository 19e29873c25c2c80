"""A reflector that improves the description of a tool: the part `## Tool: NAME` of a prompt. All of it is scripted."""

from __future__ import annotations

import re
from typing import Any

import metagym
from metagym.actor import tools_at
from metagym.tools import ToolCall, read_parts, write_part


class Shop(metagym.ToolEnv):
    """A customer wants money back. The shop pays up to a number of days after the order, and tells nobody how many."""

    def start(self, family: str) -> str:
        self.limit, self.age = int(family.split()[0]), int(self.np_random.integers(1, 60))
        self.paid = False
        return f"A customer wants money back for an order of {self.age} days ago."

    @metagym.tool
    def decide(self, refund: bool) -> str:
        """Pay the money back, or reject the request."""
        self.paid = refund
        self.finish(f"refunds end {self.limit} days after the order")
        return "The case is closed."

    def score(self) -> bool:
        return self.paid == (self.age <= self.limit)


class ShopMetaEnv(metagym.MetaEnv):
    default_prompt = "You serve the customers of a shop."
    make_inner_env = staticmethod(Shop)

    def make_task_set(self) -> metagym.TaskSet:
        families = ["14 days", "30 days"]
        return metagym.TaskSet.from_seeds(Shop, 1000, families=families, digest=lambda env, task: str(task.seed))


def clerk(episode: Any, steps: Any, observation: Any) -> str:
    """Read the descriptions of the tools as a model does: an order that is too old for the rule is rejected."""
    _, (decide,) = read_parts(episode.prompt, tools_at(steps, observation) or ())
    rule = re.search(r"up to (\d+) days", decide["function"]["description"])
    age = int(re.findall(r"\d+", observation.text)[0])
    return ToolCall("decide", {"refund": rule is None or age <= int(rule[1])}).text


def learn_rule(history: Any) -> str:
    """Add the rule that the episodes ended with to the description of the tool."""
    limit = re.findall(r"\d+", history[-1].trajectories[0].stop_detail)[0]
    rule = f"Pay the money back up to {limit} days after the order, else reject the request."
    return write_part(history[-1].prompt, "decide", rule)


def keep(history: Any) -> str:
    """Change nothing: the null control."""
    return str(history[-1].prompt)


clerk.scripted = learn_rule.scripted = keep.scripted = True  # type: ignore[attr-defined]


def main() -> None:
    for reflector in (learn_rule, keep):
        with ShopMetaEnv(clerk, families=["14 days"], episodes_per_step=20) as env:
            result = metagym.optimize(env, reflector, num_steps=2, seed=0)
        print(f"{reflector.__name__}: {result.rewards}, and the last prompt:\n{result.last_prompt}\n")


if __name__ == "__main__":
    main()

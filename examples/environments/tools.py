"""An agent with tools: each action is a call in text, such as `refund(order=17)`, and has arguments."""

import ast
from typing import Any

import gymnasium as gym

import metagym

TOOLS = "find_orders(customer='...'), order(number=...), refund(number=...), reject(number=...)"


def read_call(text: str) -> tuple[str, dict[str, Any]]:
    """Read `name(argument=literal, ...)`. Nothing is executed: do not trust a model's reply."""
    call = ast.parse(text.strip(), mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise ValueError("expected name(argument=value)")
    return call.func.id, {str(item.arg): ast.literal_eval(item.value) for item in call.keywords}


class Shop(gym.Env[str, str]):
    """A customer wants money back. The shop's rule: it pays up to a number of days after the order."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = metagym.TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.limit = int((options or {}).get("task_id", "30 days/").split()[0])  # the family is the shop's rule
        self.number, self.age = (int(n) for n in self.np_random.integers((100, 1), (1000, 60)))
        self.customer = str(self.np_random.choice(["Ada", "Ben", "Cleo", "Dan"]))
        return f"{self.customer} asks for a refund.", {"goal": f"Refund or reject, by the rule. Tools: {TOOLS}"}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        try:
            name, given = read_call(action)
        except (ValueError, SyntaxError, RecursionError) as error:  # answer in words; never raise
            return f"Not a tool call: {error}. Tools: {TOOLS}", 0.0, False, False, {"success": False}
        if name in ("refund", "reject"):
            is_right = (name == "refund") == (self.age <= self.limit) and given.get(
                "number", self.number
            ) == self.number
            info = {"success": is_right, "outcome": "right" if is_right else f"wrong: refunds end at {self.limit} days"}
            return "The case is closed.", float(is_right), True, False, info
        result = "Nothing was found."
        if name == "find_orders" and given.get("customer") == self.customer:
            result = f"[{self.number}]"
        elif name == "order" and given.get("number") == self.number:
            result = f"Order {self.number} is {self.age} days old."
        return result, 0.0, False, False, {"success": False}


class ShopMetaEnv(metagym.MetaEnv):
    default_prompt = "You serve customers of a shop."

    def make_inner_env(self) -> Shop:
        return Shop()

    def make_task_set(self) -> metagym.TaskSet:
        families = ["14 days", "30 days"]
        return metagym.TaskSet.from_seeds(Shop, 1000, families=families, digest=lambda env, task: str(task.seed))


def refund_all(episode: Any, steps: Any, observation: Any) -> str:  # a scripted actor, in place of a model
    if not steps:
        return f"find_orders(customer={observation.text.split()[0]!r})"
    found = observation if len(steps) == 1 else steps[1].observation
    return f"{'order' if len(steps) == 1 else 'refund'}(number={found.text.strip('[]')})"


def main() -> None:
    with ShopMetaEnv(refund_all, families=["30 days"], episodes_per_step=20) as env:
        env.reset(seed=0)
        trajectories, reward, *_ = env.step(env.default_prompt)
        print(*(f"{step.command} -> {step.observation.text}" for step in trajectories[0].steps), sep="\n")
        print(f"Refunding everybody is right in {reward:.0%} of {len(trajectories)} cases.")


if __name__ == "__main__":
    main()

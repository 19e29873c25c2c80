"""An agent with tools: the methods of a class, with their types and docstrings, are what the agent may call."""

from typing import Annotated, Any

import metagym
from metagym.errors import ToolError
from metagym.tools import ToolCall


class Shop(metagym.ToolEnv):
    """A customer wants money back. The shop's rule: it pays up to a number of days after the order."""

    goal = "Refund the order or reject the request, by the shop's rule."

    def start(self, family: str) -> str:
        self.limit = int(family.split()[0]) if family != "default" else 14  # the family is the shop's rule
        self.number, self.age = (int(n) for n in self.np_random.integers((100, 1), (1000, 60)))
        self.customer = str(self.np_random.choice(["Ada", "Ben", "Cleo", "Dan"]))
        self.paid: bool | None = None
        return f"{self.customer} asks for a refund."

    @metagym.tool
    def find_orders(self, customer: Annotated[str, "The customer's first name."]) -> list[int]:
        """Return the numbers of a customer's orders."""
        return [self.number] if customer == self.customer else []

    @metagym.tool
    def order_age(self, number: int) -> str:
        """Return the age of an order."""
        if number != self.number:
            raise ToolError(f"There is no order {number}.")  # the agent reads this as the result
        return f"{self.age} days"

    @metagym.tool
    def decide(self, number: int, refund: bool) -> str:
        """Close the case: pay the money of the order back, or reject the request."""
        self.paid = refund if number == self.number else None
        self.finish(f"the rule: refunds end after {self.limit} days")
        return "The case is closed."

    def score(self) -> bool:
        return self.paid == (self.age <= self.limit)


class ShopMetaEnv(metagym.MetaEnv):
    default_prompt = "You serve customers of a shop."
    make_inner_env = staticmethod(Shop)

    def make_task_set(self) -> metagym.TaskSet:
        families = ["14 days", "30 days"]
        return metagym.TaskSet.from_seeds(Shop, 1000, families=families, digest=lambda env, task: str(task.seed))


def refund_all(episode: Any, steps: Any, observation: Any) -> str:  # a scripted actor, in place of a model
    if not steps:
        return ToolCall("find_orders", {"customer": observation.text.split()[0]}).text
    return ToolCall("decide", {"number": int(observation.text.strip("[]")), "refund": True}).text


def main() -> None:
    with ShopMetaEnv(refund_all, families=["30 days"], episodes_per_step=20) as env:
        env.reset(seed=0)
        trajectories, reward, *_ = env.step(env.default_prompt)
        print(*(f"{step.observation.text} -> {step.command}" for step in trajectories[0].steps), sep="\n")
        print(f"Refunding everybody is right in {reward:.0%} of {len(trajectories)} cases.")


if __name__ == "__main__":
    main()

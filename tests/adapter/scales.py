"""A small world of tools for tests: two parcels, and scales."""

from __future__ import annotations

import dataclasses

import metagym
from metagym import ToolEnv, tool
from metagym.errors import ToolError


@dataclasses.dataclass
class Parcel:
    name: str
    weight: int


class Scales(ToolEnv):
    """Say which parcel is heavier; a user asks twice."""

    goal = "Name the heavier parcel."

    def start(self, family: str) -> str:
        self.weights = {name: int(weight) for name, weight in zip("ab", self.np_random.permutation(50), strict=False)}
        self.answers: list[str] = []
        return f"Two parcels of the kind {family}."

    @tool
    def weigh(self, parcel: str, copy: int = 1) -> Parcel:
        """Weigh a parcel."""
        if parcel not in self.weights:
            raise ToolError(f"There is no parcel {parcel!r}.")
        return Parcel(parcel, self.weights[parcel] * copy)

    @tool
    def drop(self, reason: str | None = None) -> None:
        """Drop a parcel."""
        if reason == "finish":
            self.finish("gave up")
        if reason == "bug":
            raise ValueError("a mistake of the world's author")

    def helper(self) -> None:
        """Not a tool."""

    def respond(self, text: str) -> str | None:
        self.answers.append(text)
        return "And now?" if len(self.answers) < 2 else None

    def score(self) -> bool:
        return self.answers[-1:] == [max(self.weights, key=self.weights.__getitem__)]


class ScalesMetaEnv(metagym.MetaEnv):
    make_inner_env = staticmethod(Scales)

    def make_task_set(self) -> metagym.TaskSet:
        return metagym.TaskSet.from_seeds(Scales, 200, families=["x"], digest=lambda env, task: str(task.seed))

"""Finds winning commands with full knowledge of the state: the walkthrough of a generated game."""

from __future__ import annotations

from metagym.envs.alfworld.grammar import Wording
from metagym.envs.alfworld.rules import STATES, TOOLS, Layout, World


def find_walkthrough(layout: Layout) -> tuple[str, ...]:
    """Return commands that reach the goal from the start. The goal must be one of the six families'.

    Raises:
        ValueError: the goal asks for something else, or cannot be reached.
    """
    walker = _Walker(layout)
    choice = [min(part, key=len) for part in layout.goal if part]
    if len(choice) < len(layout.goal):
        raise ValueError("the goal cannot be reached: it asks for things that are not in the room")
    wanted = [atom for grounding in choice for atom in grounding]
    for _, item, receptacle in [atom for atom in wanted if atom[0] == "inreceptacle"]:
        if ("istoggled", item) not in wanted:
            walker.fetch(item, [treatment for treatment in TOOLS if (STATES[treatment], item) in wanted])
            walker.put(item, receptacle)
    for _, _, item in [atom for atom in wanted if atom[0] == "holds"]:
        walker.fetch(item, [])
    for _, item in [atom for atom in wanted if atom[0] == "istoggled"]:
        walker.go(walker.home(item))
        walker.do("use", item)
    if not walker.world.won():
        raise ValueError("the walkthrough does not win")
    return tuple(walker.commands)


class _Walker:
    """Plays by ids and notes the commands."""

    def __init__(self, layout: Layout) -> None:
        self.world = World(layout, Wording())
        self.commands: list[str] = []

    def do(self, rule: str, item: str = "", receptacle: str = "") -> None:
        for command, move in self.world.moves().items():
            if move.rule == rule and item in ("", move.object) and receptacle in ("", move.receptacle):
                self.world.apply(move)
                self.commands.append(command)
                return
        raise ValueError(f"cannot {rule} {item or receptacle}")

    def home(self, item: str) -> str:
        return next(fact[2] for fact in sorted(self.world.facts) if fact[:2] == ("inreceptacle", item))

    def go(self, receptacle: str) -> None:
        if self.world.layout.location[receptacle] != self.world.here:
            self.do("go", receptacle=receptacle)

    def reach_into(self, receptacle: str) -> None:
        self.go(receptacle)
        if not self.world.is_reachable(receptacle):
            self.do("open", receptacle=receptacle)

    def fetch(self, item: str, treatments: list[str]) -> None:
        home = self.home(item)
        self.reach_into(home)
        self.do("take", item, home)
        for treatment in treatments:
            layout = self.world.layout
            self.go(next(tool for tool in layout.receptacles if TOOLS[treatment] in layout.types[tool]))
            self.do(treatment, item)

    def put(self, item: str, receptacle: str) -> None:
        self.reach_into(receptacle)
        self.do("put", item, receptacle)

"""Write docs/worlds.md, a section for each world whose packages are installed: `python tools/world_page.py [ID ...]`.

Sections of worlds that are not measured in this call stay as they are. No model plays: the actors are the random actor,
the demo actor and the expert of the world.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import metagym
from metagym.env import MetaEnv, meta_env_of
from metagym.errors import MissingExtraError
from metagym.rendering import plural, render_trajectory
from metagym.statistics import mean_interval
from metagym.tasks import ROLES
from metagym.types import Trajectory

PAGE: Final = Path(__file__).parents[1] / "docs" / "worlds.md"
MAX_CHARS: Final = 900
HEAD: Final = """# The worlds in numbers

`python tools/world_page.py` writes this page; [environments](environments.md) describes the worlds. All scores are of
scripted actors, and say nothing about language models (`SCRIPTED`): the default families under the default prompt.

- The *floor* plays at random. If there is nothing to choose from, as in questions, it has no valid action and scores 0.
  Its *progress* is the share of the goal that it reached, in worlds that report it.
- The *expert* reads no prompt. It knows the solution; in ALFWorld it finds it in the texts, as a player does.
- The *demo actor* does what its prompt says, and the default prompt says little.

Scores are means over tasks, with Student's 95 % intervals. *Contents* counts different contents among the drawn tasks.
Speeds are those of the floor, with its records, on two cores that were busy with other work.
"""


class World(NamedTuple):
    """Whose world it is, and who plays it."""

    licence: str
    cite: str
    expert: str = ""
    """The actor that knows the solution: `demo`, or an import path; empty if there is none."""
    floor_options: dict[str, Any] = {}
    """What the random actor needs to have a choice."""

    @property
    def actors(self) -> dict[str, str]:
        """The actor of each column of the table."""
        demo = {} if self.expert == "demo" else {"demo actor": "demo"}
        return {"floor": "random"} | demo | ({"expert": self.expert} if self.expert else {})


_JAVA: Final = "Java: GPLv2 with the Classpath Exception"
WORLDS: Final = {
    "MetaGym/Gates-v0": World("MIT", "metagym"),
    "MetaGym/Questions-v0": World("MIT (the sample); your file has its own", "metagym"),
    "MetaGym/ALFWorld-v0": World(
        "MIT", "Shridhar et al. 2021, arXiv 2010.03768", "metagym.envs.alfworld.expert:ALFWorldExpert"
    ),
    "MetaGym/MiniHack-v0": World(
        "Apache-2.0; NetHack: NetHack General Public License",
        "Samvelyan et al. 2021, arXiv 2109.13202; Küttler et al. 2020, arXiv 2006.13760",
    ),
    "MetaGym/BabyAI-v0": World(
        "MIT by its metadata, Apache-2.0 by its licence file",
        "Chevalier-Boisvert et al. 2019, arXiv 1810.08272",
        "demo",
    ),
    "MetaGym/Reasoning-v0": World("Apache-2.0", "Stojanovski et al. 2025, arXiv 2505.24760", "demo"),
    "MetaGym/ScienceWorld-v0": World(
        f"Apache-2.0; {_JAVA}", "Wang et al. 2022, arXiv 2203.07540", "demo", {"list_commands": True}
    ),
    "MetaGym/TextWorldExpress-v0": World(f"Apache-2.0; {_JAVA}", "Jansen and Côté 2022, arXiv 2208.01174", "demo"),
    "MetaGym/Tools-v0": World(
        "Apache-2.0", "Patil et al. 2025, PMLR 267, 48371-48392", "metagym.envs.tools.demo:ToolsExpert"
    ),
}


class Played(NamedTuple):
    """What an actor played in one role."""

    trajectories: tuple[Trajectory, ...]
    num_contents: int
    seconds: float

    @property
    def num_steps(self) -> int:
        """The number of steps of all episodes."""
        return sum(len(item.steps) for item in self.trajectories)


def play(name: str, actor: str, num_tasks: int, options: dict[str, Any]) -> tuple[dict[str, Played], MetaEnv]:
    """Return what an actor plays in each role under the default prompt, and its environment, which is closed."""
    found = {}
    with metagym.make(name, actor=actor, **options) as env:
        world = meta_env_of(env)
        for role in ROLES:
            tasks = world.task_set.draw(num_tasks, rng=np.random.default_rng(0), families=world.families, split=role)
            start = time.perf_counter()
            (step,) = world.replay([world.default_prompt], [task.id for task in tasks])
            num_contents = len({task.digest for task in tasks})
            found[role] = Played(step.trajectories, num_contents, time.perf_counter() - start)
    return found, world


def section(name: str, num_tasks: int) -> str:
    """Return the section of one world: its sizes, its scores by role, its speed, and an episode of its best actor."""
    world, columns = WORLDS[name], dict[str, dict[str, Played]]()
    for who, actor in world.actors.items():
        options = world.floor_options if who == "floor" else {}
        columns[who], env = play(name, actor, num_tasks, options)
    floor, best = columns["floor"], columns[[*columns][-1]]
    speed = sum(item.num_steps for item in floor.values()) / sum(item.seconds for item in floor.values())
    settings = "".join(f" The floor plays with `{key}={value}`." for key, value in world.floor_options.items())
    others = {who: played for who, played in columns.items() if who != "floor"}
    rows = [
        (
            role,
            str(floor[role].num_contents),
            scores_text([item.score for item in floor[role].trajectories]),
            scores_text([item.progress for item in floor[role].trajectories]),
            *(scores_text([item.score for item in played[role].trajectories]) for played in others.values()),
        )
        for role in ROLES
    ]
    head = ("role", f"contents of {num_tasks}", "floor", "its progress", *others)
    return "\n".join(
        [
            f"## {name}",
            "",
            f"{plural(len(env.families), 'family')} by default; {num_tasks} tasks of each role; at most "
            f"{plural(env.config.max_steps, 'step')}; {speed:,.0f} steps/s.{settings}",
            f"Licence: {world.licence}.",
            f"To cite: {world.cite}.",
            "",
            f"| {' | '.join(head)} |",
            "| --- | ---: |" + " --- |" * (len(head) - 2),
            *(f"| {' | '.join(row)} |" for row in rows),
            *failures_text(columns.get("expert", {})),
            "",
            "```text",
            shortened(render_trajectory(best["train"].trajectories[0])),
            "```",
            "",
        ]
    )


def failures_text(expert: dict[str, Played]) -> list[str]:
    """Return lines that name the tasks in which the expert fails; none if it fails in none."""
    failed = [item for played in expert.values() for item in played.trajectories if item.score != 1.0]
    if not failed:
        return []
    names = [f"- `{item.task.id}`: {item.score:.2f}, {item.stop_detail or item.stop_reason}" for item in failed]
    return ["", f"The expert does not reach 1.0 in {plural(len(failed), 'task')}:", "", *names]


def scores_text(scores: list[float | None]) -> str:
    """Return the mean of scores from 0 to 1 with its interval; a dash if there are none."""
    known = [score for score in scores if score is not None]
    found = mean_interval(known, resolution=1.0, bounds=(0.0, 1.0))
    if found is None:
        return "-"
    ends = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.mean:.2f}{ends}"


def shortened(text: str) -> str:
    """Return the beginning of a text, in whole lines without spaces at their ends."""
    whole = text if len(text) <= MAX_CHARS else text[:MAX_CHARS].rpartition("\n")[0] + "\n..."
    return "\n".join(line.rstrip() for line in whole.strip().splitlines())


def main() -> None:
    """Measure the worlds that are named, or all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="ID", default=list(WORLDS))
    parser.add_argument("--tasks", type=int, default=30, help="tasks of each role")
    arguments = parser.parse_args()
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    sections = {part.split("\n", 1)[0]: f"## {part}" for part in re.split(r"^## (?=MetaGym/)", old, flags=re.M)[1:]}
    for name in arguments.names:
        try:
            sections[name] = section(name, arguments.tasks)
        except MissingExtraError as error:
            print(f"{name} is left out: {error}")
    ordered = [sections[name].rstrip("\n") + "\n" for name in WORLDS if name in sections]
    PAGE.write_text("\n".join([HEAD, *ordered]), encoding="utf-8")


if __name__ == "__main__":
    main()

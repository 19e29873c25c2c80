"""Write docs/worlds.md, a section for each world whose packages are installed: `python tools/world_page.py [ID ...]`.

Sections of worlds that are not measured in this call stay as they are. No model plays: the two actors are the random
actor and the demo actor of the world.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

import metagym
from metagym.env import meta_env_of
from metagym.errors import MissingExtraError
from metagym.rendering import plural, render_trajectory
from metagym.statistics import mean_interval
from metagym.tasks import ROLES

PAGE: Final = Path(__file__).parents[1] / "docs" / "worlds.md"
MAX_CHARS: Final = 900
HEAD: Final = """# The worlds in numbers

`python tools/world_page.py` writes this page; [environments](environments.md) describes the worlds. All scores are of
scripted actors, and say nothing about language models (`SCRIPTED`): the default families under the default prompt. The
floor plays at random. The demo actors of BabyAI and TextWorldExpress know the solution, whatever the prompt: their
score is the upper bound. The other demo actors do what their prompt says, and the default prompt says little. Scores
are means over tasks, with Student's 95 % intervals. *Contents* counts different contents among the drawn tasks. Speeds
are of one machine, busy with other work.
"""


class Source(NamedTuple):
    """Whose world it is."""

    licence: str
    cite: str


SOURCES: Final = {
    "MetaGym/Gates-v0": Source("MIT", "metagym"),
    "MetaGym/Questions-v0": Source("MIT (the sample); your file has its own", "metagym"),
    "MetaGym/ALFWorld-v0": Source("MIT", "Shridhar et al. 2021, arXiv 2010.03768"),
    "MetaGym/MiniHack-v0": Source(
        "Apache-2.0; NetHack: NetHack General Public License",
        "Samvelyan et al. 2021, arXiv 2109.13202; Küttler et al. 2020, arXiv 2006.13760",
    ),
    "MetaGym/BabyAI-v0": Source(
        "MIT by its metadata, Apache-2.0 by its licence file", "Chevalier-Boisvert et al. 2019, arXiv 1810.08272"
    ),
    "MetaGym/TextWorldExpress-v0": Source(
        "Apache-2.0; Java: GPLv2 with the Classpath Exception", "Jansen and Côté 2022, arXiv 2208.01174"
    ),
}


def section(name: str, num_tasks: int) -> str:
    """Return the section of one world: its sizes, its scores by role, its speed, and an episode of the demo actor."""
    rows, speeds, episode = list[str](), list[float](), ""
    with metagym.make(name, actor="random") as floor, metagym.make(name, actor="demo") as expert:
        worlds = {"floor": meta_env_of(floor), "demo actor": meta_env_of(expert)}
        num_families = len(worlds["floor"].families)
        for role in ROLES:
            cells = [role]
            for who, world in worlds.items():
                rng = np.random.default_rng(0)
                tasks = world.task_set.draw(num_tasks, rng=rng, families=world.families, split=role)
                start = time.perf_counter()
                (step,) = world.replay([world.default_prompt], [task.id for task in tasks])
                speeds.append(sum(len(item.steps) for item in step.trajectories) / (time.perf_counter() - start))
                cells += [str(len({task.digest for task in tasks}))] if who == "floor" else []
                cells.append(score_text(step.scores))
                episode = episode or (render_trajectory(step.trajectories[0]) if who != "floor" else "")
            rows.append(f"| {' | '.join(cells)} |")
        max_steps = worlds["floor"].config.max_steps
    source = SOURCES[name]
    return "\n".join(
        [
            f"## {name}",
            "",
            f"{num_families} families by default; {num_tasks} tasks of each role; at most {plural(max_steps, 'step')};",
            f"{np.median(speeds):,.0f} steps/s. Licence: {source.licence}.",
            f"To cite: {source.cite}.",
            "",
            f"| role | contents of {num_tasks} | floor | demo actor |",
            "| --- | ---: | --- | --- |",
            *rows,
            "",
            "```text",
            shortened(episode),
            "```",
            "",
        ]
    )


def score_text(scores: tuple[float | None, ...]) -> str:
    """Return the mean of scores from 0 to 1 with its interval."""
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
    parser.add_argument("names", nargs="*", metavar="ID", default=list(SOURCES))
    parser.add_argument("--tasks", type=int, default=30, help="tasks of each role")
    arguments = parser.parse_args()
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    sections = {part.split("\n", 1)[0]: f"## {part}" for part in re.split(r"^## (?=MetaGym/)", old, flags=re.M)[1:]}
    for name in arguments.names:
        try:
            sections[name] = section(name, arguments.tasks)
        except MissingExtraError as error:
            print(f"{name} is left out: {error}")
    ordered = [sections[name].rstrip("\n") + "\n" for name in SOURCES if name in sections]
    PAGE.write_text("\n".join([HEAD, *ordered]), encoding="utf-8")


if __name__ == "__main__":
    main()

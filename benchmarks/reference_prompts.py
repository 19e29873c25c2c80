"""Questions (a) and (d) of the plan: does play depend on the prompt? Each model plays equal tasks under four prompts.

    python benchmarks/reference_prompts.py CASSETTE --worlds Gates [--model FILE.gguf] [--out FILE] [--against FILE]

With a model, the replies that the cassette does not hold are asked for, so a run that was stopped goes on. Without one,
all is played again from the cassette (`CASSETTE.xz` is read as well) through the real environments, and the same table
is printed. `--out` writes each episode as one line of JSON. `--against` reads such a file of another form of replies,
and prints how much the differences between prompts differ. The worlds need their extras (Tools needs bfcl-eval), and a
model needs the extra local. Tools has a cassette of its own. See docs/results/plan.md.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, cast

import gymnasium
from measuring import note, print_table

from metagym import MetaEnv, background
from metagym.actor import Actor, make_actor
from metagym.cli.model_options import replayed
from metagym.envs.alfworld.demo import LESSONS as ALFWORLD_LESSONS
from metagym.envs.gates.env import FAMILIES, GATES, law_of
from metagym.models import Cassette
from metagym.optional_attributes import extension_of
from metagym.statistics import Estimate, holm, mean_interval
from metagym.types import Trajectory

MAX_REPLY_TOKENS = {"act": 40, "react": 300, "call": 200}
PROMPTS = ("default", "right", "wrong", "other family")
RANDOM, TIMES = "random actor", 5
"""The row of an actor that draws its actions, and how many times as many tasks it plays."""


class Cluster(NamedTuple):
    """The tasks that share a family and a seed; intervals are over clusters."""

    family: str
    seed: int
    lessons: Mapping[str, str]
    """What each prompt adds to the default prompt."""
    task_ids: tuple[str, ...] = ()
    """The tasks; empty for those that the seed draws."""


class World(NamedTuple):
    """One environment of the plan."""

    options: Mapping[str, Any]
    clusters: tuple[Cluster, ...]
    num_tasks: int = 3
    """The tasks of a cluster; the local server has four slots."""
    lists_actions: bool = True
    """Whether a random actor can play it."""


def lines(lessons: Mapping[str, str]) -> str:
    """Return one line for each condition and what to do then."""
    return "\n".join(f"When {condition}, {do}." for condition, do in lessons.items())


def exchanged(lessons: Mapping[str, str]) -> dict[str, str]:
    """Return the lessons with their conclusions moved on by one."""
    conclusions = list(lessons.values())
    return dict(zip(lessons, [*conclusions[1:], conclusions[0]], strict=True))


def gates() -> World:
    """Eight laws; wrong lessons name the way that backfires, and the other law shares no gate."""

    def lessons_of(law: str) -> dict[str, str]:
        right = law_of(law)
        shares_none = (
            other
            for other in FAMILIES[FAMILIES.index(law) :] + FAMILIES
            if all(a != b for a, b in zip(law_of(other).opens, right.opens, strict=True))
        )
        ways = {"right": right.opens, "wrong": right.backfires, "other family": law_of(next(shares_none)).opens}
        conditions = [f"the gate is {gate}" for gate in GATES]
        return {name: lines(dict(zip(conditions, ways[name], strict=True))) for name in ways}

    laws = FAMILIES[:: len(FAMILIES) // 8][:8]
    clusters = tuple(Cluster(law, FAMILIES.index(law), lessons_of(law)) for law in laws)
    return World({"max_steps": 12, "score": "progress"}, clusters, num_tasks=4)


def alfworld() -> World:
    """Two families of four seeds, generated games; the lessons are those of the scripted reflector."""
    own = {ALFWORLD_LESSONS[name].condition: ALFWORLD_LESSONS[name].do for name in ("open", "lamp")}
    other = {
        ALFWORLD_LESSONS[name].condition: ALFWORLD_LESSONS[name].do for name in ("clean", "heat", "cool", "second")
    }
    lessons = {"right": lines(own), "wrong": lines(exchanged(own)), "other family": lines(other)}
    families = ("pick_and_place_simple", "look_at_obj_in_light")
    clusters = tuple(Cluster(family, seed, lessons) for family in families for seed in range(4))
    return World({"max_steps": 20, "score": "progress", "data": "generated"}, clusters)


def minihack() -> World:
    """Eight seeds of one room; the other family's lessons are those of rooms with items to use."""
    own = {"the stairs are in sight": "walk to them", "the stairs are out of sight": "explore"}
    other = {
        "an item is in sight": "fetch it",
        "you hold a key": "unlock it",
        "a closed door is in sight": "kick it open",
    }
    lessons = {"right": lines(own), "wrong": lines(exchanged(own)), "other family": lines(other)}
    family = "MiniHack-Room-Random-5x5-v0"
    return World({"max_steps": 12}, tuple(Cluster(family, seed, lessons) for seed in range(8)))


def tools() -> World:
    """Two APIs, four times three tasks of each in the benchmark's order; the lessons are read off its solutions."""
    from metagym.envs.tools import load_tasks

    at_first = {"the user asks for something": "call the functions for it, and answer only when all is done"}
    of_api = {
        "trading": {
            "an order is to be placed": "find the price with get_stock_info first",
            "the user speaks of the last order": "use its number in get_order_details or cancel_order",
            "a watchlist is to be changed": "look at it with get_watchlist first",
        },
        "vehicle": {
            "the engine is to be started": "call lockDoors for all four doors and pressBrakePedal with 1.0 first",
            "the tank is to be filled up": "look at the fuel with displayCarStatus first",
            "a distance is to be found": "call get_zipcode_based_on_city for both cities first",
        },
    }
    clusters = []
    for own, other in (("trading", "vehicle"), ("vehicle", "trading")):
        right = {**at_first, **of_api[own]}
        lessons = {"right": lines(right), "wrong": lines(exchanged(right)), "other family": lines(of_api[other])}
        ids = [task.id for task in load_tasks().values() if task.family == own and task.is_solvable]
        clusters += [Cluster(own, n, lessons, tuple(ids[3 * n : 3 * n + 3])) for n in range(4)]
    return World({"max_steps": 10, "score": "progress"}, tuple(clusters), lists_actions=False)


WORLDS = {"Gates": gates, "ALFWorld": alfworld, "MiniHack": minihack, "Tools": tools}


def play(name: str, world: World, cluster: Cluster, prompt: str, actor: Actor) -> tuple[Trajectory, ...]:
    """Play the tasks of a cluster under one of the four prompts."""
    made = gymnasium.make(
        f"MetaGym/{name}-v0",
        actor=actor,
        families=[cluster.family],
        episodes_per_step=world.num_tasks,
        allow_bad_batches=True,
        **world.options,
    )
    with closing(cast(MetaEnv, made.unwrapped)) as env:
        text = f"{env.default_prompt}\n\n{cluster.lessons.get(prompt, '')}".strip()
        if cluster.task_ids:
            return env.replay([text], cluster.task_ids)[0].trajectories
        env.reset(seed=cluster.seed)
        return env.step(text)[0]


def means_of(world: str, actor: Actor, keep: Callable[[str], object]) -> dict[str, list[float]]:
    """Play a world; return the mean score of each cluster in each row. `keep` gets each episode's line."""
    made = WORLDS[world]()
    more, drawing = made._replace(num_tasks=TIMES * made.num_tasks), make_actor("random")
    rows = [*PROMPTS, RANDOM] if made.lists_actions else PROMPTS
    means: dict[str, list[float]] = {prompt: [] for prompt in rows}
    for prompt in rows:  # all clusters of a prompt in a row: the server keeps what they share
        for cluster in made.clusters:
            is_random = prompt == RANDOM
            played = play(world, more if is_random else made, cluster, prompt, drawing if is_random else actor)
            for trajectory in played:
                told = {"world": world, "cluster": [cluster.family, cluster.seed], "prompt": prompt}
                keep(json.dumps({**told, "episode": trajectory.model_dump(mode="json")}) + "\n")
            means[prompt].append(sum(trajectory.score or 0.0 for trajectory in played) / len(played))
            note(f"{world} {cluster.family} {cluster.seed} {prompt}: {means[prompt][-1]:.3f}")
    return means


def in_cell(gain: Estimate | None) -> str:
    """Return a difference with its interval, or nothing if there is none."""
    if gain is None or gain.low is None:
        return ""
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def p_text(p: float) -> str:
    """Return a p value with three digits, but never as zero."""
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def holm_of(gains: Mapping[str, Estimate | None]) -> dict[str, float]:
    """Return each p value by Holm over all of them; a difference without an interval counts as 1."""
    p_values = [1.0 if gain is None or gain.p_value is None else gain.p_value for gain in gains.values()]
    return dict(zip(gains, holm(p_values), strict=True))


def print_results(model: str, results: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Print one line for each world and prompt, and for the random actor.

    `p` is that of the primary comparisons, Holm over the worlds.
    """
    gains = {
        (world, prompt): mean_interval([a - b for a, b in zip(means[prompt], means["default"], strict=True)])
        for world, means in results.items()
        for prompt in means
        if prompt != "default"
    }
    adjusted = holm_of({world: gains[world, "right"] for world in results})
    rows = []
    for world, means in results.items():
        for prompt in means:
            shown = in_cell(gains.get((world, prompt)))
            p = p_text(adjusted[world]) if prompt == "right" else ""
            num, mean = len(means[prompt]), sum(means[prompt]) / len(means[prompt])
            is_random = prompt == RANDOM
            size = f"{num} / {num * WORLDS[world]().num_tasks * (TIMES if is_random else 1)}"
            rows.append(("-" if is_random else model, world, prompt, size, f"{mean:.3f}", shown, p))
    print_table(("model", "world", "prompt", "clusters / episodes", "score", "minus default [95 %]", "p (Holm)"), *rows)


def means_in(path: Path) -> dict[str, dict[str, list[float]]]:
    """Return the mean score of each cluster in each row, by world, from the episodes that `--out` wrote."""
    scores: dict[tuple[str, str, str, int], list[float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        scores.setdefault((told["world"], told["prompt"], *told["cluster"]), []).append(told["episode"]["score"] or 0.0)
    means: dict[str, dict[str, list[float]]] = {}
    for (world, prompt, *_), own in scores.items():
        means.setdefault(world, {}).setdefault(prompt, []).append(sum(own) / len(own))
    return means


def print_differences(
    results: Mapping[str, Mapping[str, Sequence[float]]], others: Mapping[str, Mapping[str, Sequence[float]]]
) -> None:
    """Print one line for each world and prompt: its difference from the default prompt minus the same of `others`."""
    rows = []
    for world, means in results.items():
        for prompt in PROMPTS[1:]:
            pairs = (means, others[world])
            here, there = ([a - b for a, b in zip(own[prompt], own["default"], strict=True)] for own in pairs)
            change = mean_interval([a - b for a, b in zip(here, there, strict=True)])
            rows.append((world, prompt, *map(in_cell, (mean_interval(here), mean_interval(there), change))))
    columns = ("world", "prompt", "minus default, here [95 %]", "there [95 %]", "difference of the two [95 %]")
    print_table(columns, *rows)


def unpacked(path: Path, folder: str) -> Path:
    """Return the cassette as a file that can be opened; `.xz` is unpacked into `folder`."""
    if path.suffix != ".xz":
        return path
    target = Path(folder) / path.stem
    target.write_bytes(lzma.decompress(path.read_bytes()))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cassette", type=Path)
    parser.add_argument("--model", type=Path, help="a GGUF file; without one the cassette is replayed")
    parser.add_argument("--worlds", required=True, help=f"one or more of {','.join(WORLDS)}")
    parser.add_argument("--constrain", default="auto", choices=["auto", "off"], help="question (d)")
    parser.add_argument("--reply-format", default="act", choices=[*MAX_REPLY_TOKENS], help="question (d)")
    parser.add_argument("--out", type=Path, default=Path(os.devnull), help="each episode as one line of JSON")
    parser.add_argument("--against", type=Path, help="question (d): a file that --out wrote for another form")
    options = parser.parse_args()
    others = means_in(options.against) if options.against else None
    with tempfile.TemporaryDirectory() as folder:
        path = unpacked(options.cassette, folder)
        worlds = options.worlds.split(",")
        form: dict[str, Any] = {"act": "tools"} if worlds == ["Tools"] else {"reply_format": options.reply_format}
        actor: dict[str, Any] = {
            "model": f"local:{options.model}" if options.model else "local",
            "constrain": options.constrain,
            **form,
            "sampling": {"max_tokens": MAX_REPLY_TOKENS["call" if "act" in form else options.reply_format]},
        }
        if options.model is None:
            actor = replayed(actor, "actor", str(path))
        player = make_actor(actor)  # one for all cells: the model is loaded once
        try:
            with (
                closing(Cassette(path, mode="read-through" if options.model else "replay")) as cassette,
                cassette.open(),
                options.out.open("w", encoding="utf-8") as out,
            ):
                results = {world: means_of(world, player, out.write) for world in worlds}
                model = cassette.models("actor")[0]["model"]
        finally:
            background.run_or_start(extension_of(player).aclose())
    print_results(model, results)
    if others is not None:
        print()
        print_differences(results, others)


if __name__ == "__main__":
    main()

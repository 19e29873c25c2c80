"""Reflectors whose true effect is known, each judged by the evaluation: does it say what is true?

Each reflector plays in the world of `doors.py`, by `metagym.evaluation.evaluate`, with the null controls that its
judgement needs, by `control_arm` and `compare`. The table shows what each does, what the evaluation says of it (the
verdict and the marks below), and whether that is right. The exit code is 1 if anything is wrong.

    python benchmarks/planted_reflectors.py [--times 20]

With `--times`, all is repeated on other tasks with other seeds, and the table says how often each was judged right. A
judgement rests on several tests at 5 %, so it is wrong now and then; the exit code is 1 if more than a fifth are wrong.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from doors import HOUSES, DoorsMetaEnv, DoorTasks, Listener, door_in, read_notes, word_of, wrong_word_of

from metagym.errors import LeakError
from metagym.evaluation import EvaluationConfig, EvaluationReport, compare, evaluate
from metagym.evaluation.comparison import Comparison
from metagym.evaluation.controls import control_arm, long_prompt
from metagym.reflectors import ReflectorSpec, Replay
from metagym.types import MetaStep, Reflection, Trajectory

History = Sequence[MetaStep]
ONE_COLOUR, MANY_COLOURS = ("hall", "cellar"), ("tower", "barn")
CONFIG = EvaluationConfig(num_steps=4, episodes_per_step=6, num_seeds=10, num_validation=16, num_test=24)
FIRST = DoorsMetaEnv.default_prompt


# What the reflectors read and write ------------------------------------------------------------------


def texts_of(trajectory: Trajectory) -> list[str]:
    """Return the texts that an actor saw in an episode, in order."""
    final = [] if trajectory.final_observation is None else [trajectory.final_observation]
    return [item.text for item in (*(step.observation for step in trajectory.steps), *final)]


def with_notes(notes: dict[str, str]) -> str:
    return "\n".join([FIRST, *(f"- {name}: {word}" for name, word in notes.items())])


def colours_in(history: History) -> list[str]:
    seen = (door_in(text)[1] for past in history for item in past.trajectories for text in texts_of(item)[:1])
    return sorted(set(seen) - {""})


def with_lessons(history: History, name_of: Callable[[str, str], str]) -> str:
    """Note the words that opened a door, under a name of it, and drop the notes that mostly failed."""
    opened, failed = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for first, *later in filter(None, map(texts_of, history[-1].trajectories)):
        name = name_of(*door_in(first))
        for word, result in (
            found.groups() for text in later if (found := re.match(r"You say (\w+)\. The door (\w+)", text))
        ):
            (opened if result == "opens" else failed)[name, word] += 1
    notes = {
        key: word for key, word in read_notes(history[-1].prompt).items() if failed[key, word] <= opened[key, word]
    }
    for (name, word), _ in opened.most_common():
        notes.setdefault(name, word)
    return with_notes(notes)


# The reflectors ---------------------------------------------------------------------------------------


def honest(history: History) -> str:
    return with_lessons(history, lambda number, colour: colour)


def memoriser(history: History) -> str:
    return with_lessons(history, lambda number, colour: f"door {number}")


def copier(history: History) -> str:
    return "\n".join([history[-1].prompt, *(" ".join(texts_of(item)) for item in history[-1].trajectories)])


class AnswerThief:
    """Plays test tasks by itself, and notes their words."""

    fingerprint: ClassVar[dict[str, str]] = {"kind": "AnswerThief"}

    def __init__(self, replay: Replay | None = None) -> None:
        self.replay = replay

    def bound_to(self, replay: Replay) -> AnswerThief:
        return AnswerThief(replay)

    async def reflect(self, history: History) -> Reflection:
        assert self.replay is not None
        tasks = DoorTasks().draw(20, rng=np.random.default_rng(0), families=ONE_COLOUR, split="test")
        return Reflection(prompt=memoriser(await self.replay([history[-1].prompt], [task.id for task in tasks])))


def gambler(history: History) -> str:
    return f"{FIRST} Be {('bold', 'calm', 'kind', 'wise')[history[-1].index]}."


def harmful(history: History) -> str:
    return with_notes({colour: wrong_word_of(colour) for colour in colours_in(history)})


def idle(history: History) -> str:
    return history[-1].prompt


def task_reader(history: History) -> str:
    colours = HOUSES[history[-1].trajectories[0].task.family]
    return with_notes({colour: word_of(colour) for colour in colours})


def long_winded(history: History) -> str:
    return "\n".join([history[-1].prompt, *["Take your time, and think of what a door may want to hear."] * 8])


def goal_reader(history: History) -> str:
    """Note what the neighbours say, which is in the goal."""
    goals = [item.steps[0].observation.goal for item in history[-1].trajectories if item.steps]
    said = [found[1] for goal in goals if (found := re.search(r"say (\w+)", goal))]
    return with_notes(dict.fromkeys(colours_in(history), said[0])) if said else history[-1].prompt


def know_all(history: History) -> str:
    """Write the right words without any reading."""
    return with_notes({colour: word_of(colour) for house in ONE_COLOUR for colour in HOUSES[house]})


def early_riser(history: History) -> str:
    return honest(history) if history[-1].index < 2 else harmful(history)


# What is true of them, and what the evaluation says --------------------------------------------------


class Planted(NamedTuple):
    """A reflector, and the marks that a right judgement has (see `marks_of`)."""

    name: str
    does: str
    reflector: ReflectorSpec
    right: frozenset[str]
    controls: tuple[str, ...] = ()
    houses: tuple[str, ...] = ONE_COLOUR
    is_careful: bool = False
    unjudged: frozenset[str] = frozenset({"optimism", "negative optimism"})
    """Marks that do not speak of it: the best of several prompts is always chosen with a little luck."""


def planted() -> list[Planted]:
    """Return the reflectors with the truth about each."""
    none, better = frozenset[str](), frozenset({"better"})
    learned = frozenset(f"beats {name}" for name in ("no reflection", "empty experience", "permuted outcomes"))
    controls = ("same again", "no reflection", "empty experience", "permuted outcomes")
    return [
        Planted("honest learner", "notes which word opened doors of a colour", honest, better | learned, controls),
        Planted(
            "honest learner, sub-kinds", "the same in houses of six colours", honest, better | learned, controls,
            MANY_COLOURS,
        ),
        Planted("memoriser", "notes the words of the very doors", memoriser, frozenset({"gap", "copied"})),
        Planted("copier", "pastes what was seen into the prompt", copier, frozenset({"copied"})),
        Planted("answer thief", "plays test tasks, and notes their words", AnswerThief(), frozenset({"stopped"})),
        Planted("gambler", "writes prompts without meaning", gambler, frozenset({"optimism"}), unjudged=none),
        Planted("harmful", "notes wrong words", harmful, frozenset({"last worse"})),
        Planted("idle", "changes nothing", idle, none, unjudged=none),
        Planted("task reader", "looks the house up in `task`", task_reader, better | {"read family"}),
        Planted("long-winded", "writes more and more, without content", long_winded, none),
        Planted(
            "long-winded, careful actor", "the same; the actor plays better under any long prompt", long_winded,
            better | {"beats no reflection"}, ("no reflection", "long prompt"), is_careful=True,
        ),
        Planted(
            "goal reader", "notes the word that the goal gives away", goal_reader, better | {"beats hidden goal"},
            ("hidden goal", "permuted outcomes"),
        ),
        Planted(
            "know-all", "writes the right words without reading", know_all, better | {"beats no reflection"},
            ("no reflection", "empty experience"),
        ),
        Planted("early riser", "learns, and later notes wrong words", early_riser, better | {"last worse"}),
    ]  # fmt: skip


class Judgement(NamedTuple):
    """What the evaluation says of a reflector: its figures in words, and the marks."""

    words: str
    marks: frozenset[str]


def judge(item: Planted, config: EvaluationConfig) -> Judgement:
    """Evaluate a reflector and its controls, and return what the evaluation says."""
    with DoorsMetaEnv(Listener(is_careful=item.is_careful), families=list(item.houses)) as env:
        config = config.model_copy(update={"families": item.houses})
        try:
            report = evaluate(env, item.reflector, config=config, arm=item.name)
        except LeakError as error:
            return Judgement(str(error).split(";")[0], frozenset({"stopped"}))
        prompt = long_prompt(FIRST, [found.last_prompt for found in report.prompts])
        arms = [control_arm(name, item.reflector, constant_prompt=prompt) for name in item.controls]
        controls = [evaluate(env, arm.reflector, config=config, arm=arm.name, kind=arm.kind) for arm in arms]
    return Judgement(words_of(report), marks_of(report, compare([report, *controls]) if controls else ()))


def words_of(report: EvaluationReport) -> str:
    """Return the gains and the gap of a report."""
    figures = {"gain": report.overall.gain, "last": report.overall.last_gain, "gap": report.overall.memorisation_gap}
    return ", ".join(
        f"{name} {item.mean:+.2f} [{item.low:+.2f}, {item.high:+.2f}]"
        for name, item in figures.items()
        if item is not None
    )


def marks_of(report: EvaluationReport, comparisons: Sequence[Comparison]) -> frozenset[str]:
    """Return everything that the evaluation shows, as a set of marks."""
    gap, optimism = report.overall.memorisation_gap, report.overall.optimism
    assert gap is not None
    assert optimism is not None
    signs = {item.second: 0 if item.difference is None else item.difference.sign for item in comparisons}
    shown = {
        "better": report.verdict.startswith("better than sp_0"),
        "worse": report.verdict.startswith("worse than sp_0"),
        "last worse": report.verdict.endswith(", worse than sp_0"),
        "gap": gap.sign > 0,
        "negative gap": gap.sign < 0,
        "optimism": optimism.sign > 0,
        "negative optimism": optimism.sign < 0,
        "copied": any(found.names or found.sentences for found in report.copies),
        **{f"read {name}": True for name in report.task_reads},
        **{f"beats {name}": sign > 0 for name, sign in signs.items()},
        **{f"loses to {name}": sign < 0 for name, sign in signs.items()},
    }
    return frozenset(name for name, is_shown in shown.items() if is_shown)


def is_right(item: Planted, found: Judgement) -> bool:
    """Whether the evaluation says what is true."""
    return found.marks - item.unjudged == item.right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1)
    times = parser.parse_args().times
    is_any_wrong = False
    print(f"| reflector | what it does | what the evaluation says | {'right' if times == 1 else f'right in {times}'} |")
    print("| --- | --- | --- | --- |")
    for item in planted():
        configs = [
            CONFIG.model_copy(update={"first_seed": CONFIG.num_seeds * number, "task_seed": number})
            for number in range(times)
        ]
        found = [judge(item, config) for config in configs]
        num_right = sum(is_right(item, judgement) for judgement in found)
        is_any_wrong |= times - num_right > times // 5
        marks = ", ".join(sorted(found[0].marks)) or "nothing shown"
        shown = ("no", "yes")[num_right] if times == 1 else str(num_right)
        print(f"| {item.name} | {item.does} | {found[0].words}: {marks} | {shown} |", flush=True)
        for judgement in found:
            if not is_right(item, judgement):
                print(f"{item.name}: expected {sorted(item.right)}, got {sorted(judgement.marks)}", file=sys.stderr)
    print("SCRIPTED: a script played.")
    return int(is_any_wrong)


if __name__ == "__main__":
    sys.exit(main())

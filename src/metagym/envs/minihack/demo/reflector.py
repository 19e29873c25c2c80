"""The scripted reflector of MiniHack's demo: by rules, it adds one instruction and drops one at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from metagym.envs.instructions import MAX_INSTRUCTIONS, Instruction, read_instructions
from metagym.envs.minihack.demo.scene import Scene, distance, read_scene
from metagym.envs.minihack.demo.vocabulary import CONDITIONS, HELD, Situation
from metagym.types import MetaStep, Reflection, Trajectory

_MANY_STEPS = 6
"""If an instruction's condition held in this many steps of a failed episode, the instruction is suspected."""

_RECENT = 3
"""If an instruction's condition never held in this many meta-steps, another instruction may replace it."""


class MiniHackDemoReflector:
    """A scripted reflector: it finds lessons in the texts of failed episodes and adds one per meta-step.

    A lesson needs evidence, such as stairs that were visible and never reached; without evidence nothing is added.
    An instruction that is not a known lesson is dropped if its condition held for many steps of episodes that mostly
    failed. In a full prompt a new lesson replaces an instruction whose condition did not hold recently. It reads
    texts, commands and scores, and never a task's id, family, split or seed. It keeps no memory.
    """

    scripted = True
    fingerprint = {"reflector": "minihack demo", "version": 1}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the last prompt with at most one instruction added, and at most one dropped."""
        added, dropped, reason = choose_change(history)
        analysis = f"{reason} Dropped: {dropped}." if dropped else reason
        prompt = apply_change(history[-1].prompt, added=added, dropped=dropped)
        return Reflection(prompt=prompt, analysis=analysis, scripted=True)


class Evidence(NamedTuple):
    """The content of one failed episode."""

    scenes: tuple[Scene, ...]
    available: frozenset[str]
    commands: tuple[str, ...]

    def sees(self, symbols: str) -> bool:
        """Return whether one of the symbols was ever on the map."""
        return any(scene.find(symbols) for scene in self.scenes)

    def lacks(self, command: str) -> bool:
        """Return whether a command was available and never used."""
        return command in self.available and command not in self.commands


Rule = Callable[[Evidence], bool]


def _stairs_hidden(evidence: Evidence) -> bool:
    # In a dark place the map grows while the hero moves. In a lit place it does not, and exploring finds nothing.
    grew = len(evidence.scenes[-1].squares) > len(evidence.scenes[0].squares)
    return grew and not evidence.sees(">")


def _was_bitten(evidence: Evidence) -> bool:
    for before, after in zip(evidence.scenes, evidence.scenes[1:], strict=False):
        if before.hit_points is None or after.hit_points is None or after.hit_points >= before.hit_points:
            continue
        if any(distance(monster, before.hero) == 1 for monster in before.monsters()):
            return True
    return False


def _item_left(evidence: Evidence) -> bool:
    is_seen = any(scene.find('?!/="[)(%') or "You see here" in scene.message for scene in evidence.scenes)
    return is_seen and evidence.lacks("pick up")


def _seen_and_unused(symbol: str, command: str) -> Rule:
    return lambda evidence: evidence.sees(symbol) and evidence.lacks(command)


def _held_and_unused(item: str, command: str, do: str) -> tuple[Instruction, Rule]:
    condition = f"you hold {item}"

    def rule(evidence: Evidence) -> bool:
        return any(scene.holds(*HELD[condition]) for scene in evidence.scenes) and evidence.lacks(command)

    return Instruction(condition, do), rule


LESSONS: Mapping[Instruction, Rule] = {
    Instruction("a monster is next to you", "attack it"): _was_bitten,
    Instruction("the stairs are in sight", "walk to them"): lambda evidence: evidence.sees(">"),
    **dict(
        (
            _held_and_unused("a key", "apply", "unlock it"),
            _held_and_unused("food", "eat", "eat it"),
            _held_and_unused("a scroll", "read", "read it"),
            _held_and_unused("a wand", "zap", "zap it"),
            _held_and_unused("an amulet", "put on", "put it on"),
            _held_and_unused("a ring", "put on", "put it on"),
            _held_and_unused("a robe", "wear", "wear it"),
            _held_and_unused("boots", "wear", "wear it"),
            _held_and_unused("a potion", "quaff", "quaff it"),
            _held_and_unused("a dagger", "wield", "wield it"),
        )
    ),
    Instruction("an item is in sight", "fetch it"): _item_left,
    Instruction("an altar is in sight", "pray there"): _seen_and_unused("_", "pray"),
    Instruction("a sink is in sight", "drink there"): _seen_and_unused("#", "quaff"),
    Instruction("a closed door is in sight", "kick it open"): _seen_and_unused("+", "kick"),
    Instruction("the stairs are out of sight", "explore"): _stairs_hidden,
}
"""Each lesson, and the rule that finds evidence for it in a failed episode.

This is also their order in a prompt, of which the actor follows the first instruction that applies. If two lessons
have equal evidence, the first one is added.
"""

_RANKS: dict[Instruction | None, int] = {lesson: rank for rank, lesson in enumerate(LESSONS)}


def choose_change(history: Sequence[MetaStep]) -> tuple[Instruction | None, Instruction | None, str]:
    """Return the instruction to add, the one to drop, and the reason: the last meta-step's failed episodes."""
    instructions = read_instructions(history[-1].prompt, limit=None)
    read, trajectories = instructions[:MAX_INSTRUCTIONS], history[-1].trajectories
    failed = [evidence for trajectory in trajectories if (evidence := _evidence(trajectory)) is not None]
    support = {
        lesson: sum(rule(evidence) for evidence in failed) for lesson, rule in LESSONS.items() if lesson not in read
    }
    best = max(support, key=lambda lesson: support[lesson])
    dropped = next((instruction for instruction in read if _does_harm(instruction, trajectories)), None)
    if support[best] == 0:
        return None, dropped, "No failed episode gives evidence for a new instruction."
    if dropped is None and len(instructions) >= MAX_INSTRUCTIONS:
        dropped = next((instruction for instruction in read if _is_idle(instruction, history)), None)
        if dropped is None:
            return None, None, "The prompt is full, and each of its instructions was used."
    return best, dropped, f"{support[best]} of {len(failed)} failed episodes give evidence for: {best}."


def apply_change(prompt: str, *, added: Instruction | None, dropped: Instruction | None) -> str:
    """Return the changed prompt. All other lines stay as they are.

    An added instruction takes the place of the dropped one. If no instruction is dropped, it goes before the first
    lesson that comes later in `LESSONS`, or to the end.
    """
    lines: list[str] = []
    for line in prompt.split("\n"):
        found = next(iter(read_instructions(line, limit=1)), None)
        is_dropped = found is not None and found == dropped
        is_later = found is not None and dropped is None and _RANKS.get(found, -1) > _RANKS.get(added, -1)
        if added is not None and (is_dropped or is_later):
            lines.append(f"- {added}")
            added = None
        if not is_dropped:
            lines.append(line)
    changed = "\n".join(lines)
    return changed if added is None else f"{changed.rstrip()}\n- {added}"


def _does_harm(instruction: Instruction, trajectories: Sequence[Trajectory]) -> bool:
    if instruction in LESSONS:
        return False
    affected = [trajectory for trajectory in trajectories if _count_holding(instruction, trajectory) >= _MANY_STEPS]
    return 2 * sum(not trajectory.success for trajectory in affected) > len(affected)


def _is_idle(instruction: Instruction, history: Sequence[MetaStep]) -> bool:
    recent = [trajectory for meta_step in history[-_RECENT:] for trajectory in meta_step.trajectories]
    return len(history) >= _RECENT and not any(_count_holding(instruction, played) for played in recent)


def _evidence(trajectory: Trajectory) -> Evidence | None:
    """Return the content of a failed episode; None if the episode was won or shows no map."""
    if trajectory.score is None or trajectory.success or (trajectory.success is None and trajectory.score > 0):
        return None
    observations = [step.observation for step in trajectory.steps]
    scenes = tuple(scene for seen in observations if (scene := read_scene(seen.text)) is not None)
    if not scenes:
        return None
    return Evidence(
        scenes=scenes,
        available=frozenset(name for seen in observations for name in seen.available_actions or ()),
        commands=tuple(step.command for step in trajectory.steps if step.command is not None),
    )


def _count_holding(instruction: Instruction, trajectory: Trajectory) -> int:
    holds = CONDITIONS.get(instruction.condition)
    scenes = (read_scene(step.observation.text) for step in trajectory.steps)
    return sum(holds(Situation(scene)) for scene in scenes if scene is not None) if holds else 0

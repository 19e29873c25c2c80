"""The demo reflector's rules: from what failed episodes show to one instruction more, or one fewer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from metagym.envs.instructions import Instruction
from metagym.envs.minihack.demo_scene import Scene, distance, read_scene
from metagym.envs.minihack.demo_skills import CONDITIONS, HELD, look
from metagym.types import Trajectory

_LONG = 6
"""An instruction whose condition held in so many steps of a failed episode is suspected."""


@dataclass(frozen=True)
class Change:
    """What to change in the prompt, and why."""

    added: Instruction | None
    dropped: Instruction | None
    reason: str


@dataclass(frozen=True)
class Evidence:
    """What one failed episode shows."""

    scenes: tuple[Scene, ...]
    available: frozenset[str]
    commands: tuple[str, ...]

    def sees(self, symbols: str) -> bool:
        """Whether one of the symbols ever stood on the map."""
        return any(scene.find(symbols) for scene in self.scenes)

    def is_told(self, words: str) -> bool:
        """Whether a message ever held the words."""
        return any(words in scene.message for scene in self.scenes)


def _stairs_seen(evidence: Evidence) -> bool:
    return evidence.sees(">")


def _stairs_hidden(evidence: Evidence) -> bool:
    # In a dark place the map grows as the hero moves; in a lit one it does not, and there is no more to find.
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
    if "pick up" not in evidence.available or "pick up" in evidence.commands:
        return False
    return any(scene.find('?!/="[)(%') or "You see here" in scene.message for scene in evidence.scenes)


def _unused(condition: str, command: str) -> Callable[[Evidence], bool]:
    def unused(evidence: Evidence) -> bool:
        held = any(scene.holds(*HELD[condition]) for scene in evidence.scenes)
        return held and command in evidence.available and command not in evidence.commands

    return unused


def _door_locked(command: str) -> Callable[[Evidence], bool]:
    def locked(evidence: Evidence) -> bool:
        return evidence.sees("+") and command in evidence.available and command not in evidence.commands

    return locked


def _spot_unused(symbol: str, command: str) -> Callable[[Evidence], bool]:
    return lambda evidence: evidence.sees(symbol) and command in evidence.available and command not in evidence.commands


LESSONS: Mapping[Instruction, Callable[[Evidence], bool]] = {
    Instruction("the stairs are in sight", "walk to them"): _stairs_seen,
    Instruction("you hold a key", "unlock it"): _unused("you hold a key", "apply"),
    Instruction("you hold food", "eat it"): _unused("you hold food", "eat"),
    Instruction("you hold a scroll", "read it"): _unused("you hold a scroll", "read"),
    Instruction("you hold a wand", "zap it"): _unused("you hold a wand", "zap"),
    Instruction("you hold an amulet", "put it on"): _unused("you hold an amulet", "put on"),
    Instruction("you hold a robe", "wear it"): _unused("you hold a robe", "wear"),
    Instruction("an item is in sight", "fetch it"): _item_left,
    Instruction("an altar is in sight", "pray there"): _spot_unused("_", "pray"),
    Instruction("a sink is in sight", "drink there"): _spot_unused("#", "quaff"),
    Instruction("a closed door is in sight", "kick it open"): _door_locked("kick"),
    Instruction("the stairs are out of sight", "explore"): _stairs_hidden,
    Instruction("a monster is next to you", "attack it"): _was_bitten,
}
"""Each lesson, and what in a failed episode speaks for it. Of equally supported ones the first is taken."""


def choose_change(instructions: Sequence[Instruction], trajectories: Sequence[Trajectory], *, room: int) -> Change:
    """Return the change that the failed episodes speak for most; nothing without evidence."""
    failed = [evidence for trajectory in trajectories if (evidence := _evidence(trajectory)) is not None]
    fitted = {instruction: _count_fitting(instruction, trajectories) for instruction in instructions[:room]}
    support = {
        lesson: sum(speaks(evidence) for evidence in failed)
        for lesson, speaks in LESSONS.items()
        if lesson not in instructions[:room]
    }
    suspects = [
        instruction
        for instruction, (num_failed, num_won) in fitted.items()
        if instruction not in LESSONS and num_failed > num_won
    ]
    dropped = suspects[0] if suspects else None
    best = max(support, key=lambda lesson: support[lesson], default=None)
    if best is None or support[best] == 0:
        reason = "No failed episode speaks for a new instruction."
        return Change(None, dropped, f"{reason} Dropped: {dropped}." if dropped else reason)
    if dropped is None and len(instructions) >= room:
        return Change(None, None, "The prompt is full, and none of its instructions did harm.")
    return Change(best, dropped, f"{support[best]} of {len(failed)} failed episodes speak for: {best}.")


def _evidence(trajectory: Trajectory) -> Evidence | None:
    """Return what a failed episode shows; None for one that was won, or shows no map."""
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


def _count_fitting(instruction: Instruction, trajectories: Sequence[Trajectory]) -> tuple[int, int]:
    """Count the failed and the won episodes in which the instruction's condition held for long."""
    holds = CONDITIONS.get(instruction.condition)
    failed = won = 0
    if holds is None:
        return failed, won
    for trajectory in trajectories:
        scenes = (read_scene(step.observation.text) for step in trajectory.steps)
        num_steps = sum(holds(look(scene)) for scene in scenes if scene is not None)
        if num_steps >= _LONG:
            failed += not trajectory.success
            won += bool(trajectory.success)
    return failed, won

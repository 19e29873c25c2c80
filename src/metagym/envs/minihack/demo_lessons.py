"""The demo reflector's rules: from what failed episodes show to one instruction more, or one fewer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from metagym.envs.instructions import MAX_INSTRUCTIONS, Instruction, read_instructions
from metagym.envs.minihack.demo_conditions import CONDITIONS, HELD, look
from metagym.envs.minihack.demo_scene import Scene, distance, read_scene
from metagym.types import MetaStep, Trajectory

_LONG = 6
"""An instruction whose condition held in so many steps of a failed episode is suspected."""

_RECENT = 3
"""An instruction whose condition never held over so many meta-steps gives way to a better supported one."""


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


def _use(item: str, command: str, do: str) -> tuple[Instruction, Callable[[Evidence], bool]]:
    condition = f"you hold {item}"
    return Instruction(condition, do), _unused(condition, command)


LESSONS: Mapping[Instruction, Callable[[Evidence], bool]] = {
    Instruction("a monster is next to you", "attack it"): _was_bitten,
    Instruction("the stairs are in sight", "walk to them"): _stairs_seen,
    **dict(
        (
            _use("a key", "apply", "unlock it"),
            _use("food", "eat", "eat it"),
            _use("a scroll", "read", "read it"),
            _use("a wand", "zap", "zap it"),
            _use("an amulet", "put on", "put it on"),
            _use("a ring", "put on", "put it on"),
            _use("a robe", "wear", "wear it"),
            _use("boots", "wear", "wear it"),
            _use("a potion", "quaff", "quaff it"),
            _use("a dagger", "wield", "wield it"),
        )
    ),
    Instruction("an item is in sight", "fetch it"): _item_left,
    Instruction("an altar is in sight", "pray there"): _spot_unused("_", "pray"),
    Instruction("a sink is in sight", "drink there"): _spot_unused("#", "quaff"),
    Instruction("a closed door is in sight", "kick it open"): _door_locked("kick"),
    Instruction("the stairs are out of sight", "explore"): _stairs_hidden,
}
"""Each lesson, and what in a failed episode speaks for it.

The order is the one in which they belong into a prompt, where the first that fits is obeyed; of
equally supported lessons the first is taken.
"""

_RANKS = {lesson: rank for rank, lesson in enumerate(LESSONS)}


def choose_change(history: Sequence[MetaStep], *, room: int = MAX_INSTRUCTIONS) -> Change:
    """Return the change that the last meta-step's failed episodes speak for most; none without evidence."""
    instructions = read_instructions(history[-1].prompt, limit=None)
    read, trajectories = instructions[:room], history[-1].trajectories
    failed = [evidence for trajectory in trajectories if (evidence := _evidence(trajectory)) is not None]
    support = {
        lesson: sum(speaks(evidence) for evidence in failed) for lesson, speaks in LESSONS.items() if lesson not in read
    }
    dropped = next((instruction for instruction in read if _does_harm(instruction, trajectories)), None)
    best = max(support, key=lambda lesson: support[lesson], default=None)
    if best is None or support[best] == 0:
        reason = "No failed episode speaks for a new instruction."
        return Change(None, dropped, f"{reason} Dropped: {dropped}." if dropped else reason)
    if dropped is None and len(instructions) >= room:
        dropped = next((instruction for instruction in read if _is_idle(instruction, history)), None)
        if dropped is None:
            return Change(None, None, "The prompt is full, and each of its instructions was of use.")
    reason = f"{support[best]} of {len(failed)} failed episodes speak for: {best}."
    return Change(best, dropped, f"{reason} Dropped: {dropped}." if dropped else reason)


def apply_change(prompt: str, change: Change) -> str:
    """Return the prompt with the change made, all other lines untouched.

    What is added takes the place of what is dropped; else it stands before the first instruction that
    should come later, or at the end.
    """
    lines: list[str] = []
    to_add = change.added
    for line in prompt.split("\n"):
        found = read_instructions(line, limit=1)
        is_dropped = bool(found) and found[0] == change.dropped
        is_later = bool(found) and change.dropped is None and to_add is not None
        if to_add is not None and (is_dropped or (is_later and _rank(found[0]) > _rank(to_add))):
            lines.append(f"- {to_add}")
            to_add = None
        if not is_dropped:
            lines.append(line)
    changed = "\n".join(lines)
    return changed if to_add is None else f"{changed.rstrip()}\n- {to_add}"


def _rank(instruction: Instruction) -> int:
    return _RANKS.get(instruction, -1)


def _does_harm(instruction: Instruction, trajectories: Sequence[Trajectory]) -> bool:
    """Whether an instruction that is no lesson fitted for long in more failed episodes than in won ones."""
    if instruction in LESSONS:
        return False
    fitting = [trajectory for trajectory in trajectories if _count_fitting(instruction, trajectory) >= _LONG]
    return 2 * sum(not trajectory.success for trajectory in fitting) > len(fitting)


def _is_idle(instruction: Instruction, history: Sequence[MetaStep]) -> bool:
    """Whether an instruction's condition never held over the last three meta-steps."""
    recent = [trajectory for meta_step in history[-_RECENT:] for trajectory in meta_step.trajectories]
    return len(history) >= _RECENT and not any(_count_fitting(instruction, played) for played in recent)


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


def _count_fitting(instruction: Instruction, trajectory: Trajectory) -> int:
    """Count the steps at which an instruction's condition held."""
    holds = CONDITIONS.get(instruction.condition)
    if holds is None:
        return 0
    scenes = (read_scene(step.observation.text) for step in trajectory.steps)
    return sum(holds(look(scene)) for scene in scenes if scene is not None)

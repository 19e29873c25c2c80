"""Menus and questions: what NetHack waits for, the possible answers, and the answer of `auto_answer`.

| NetHack waits at | actions | `auto_answer` |
| --- | --- | --- |
| `--More--`, a page of text | `continue` | `continue` |
| a menu | `select a`, ..., `next page`, `previous page`, `confirm`, `cancel` | all of a pick-up |
| "What do you want to eat? [fg or ?*]" | `item f`, `item g`, `list items`, `cancel` | the last listed |
| "In what direction?", after `fight` | `direction n`, ..., `cancel` | to a door, a monster, else east |
| "Eat it? [ynq]", "Which hand? [rl]" | `yes`, `no`, `quit`, `answer r`, ..., `cancel` | `yes` |
| "Really attack? [yn]" | `yes`, `no`, `cancel` | `no` |
| a line of text | `type x`, `type Elbereth`, any other `type TEXT`, `cancel` | `cancel` |
| a position on the map | `cursor n`, `cursor far n`, ..., `select`, `cancel` | `cancel` |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from metagym.envs.minihack.commands import DIRECTIONS, ENTER, ESCAPE, OFFSETS, SPACE
from metagym.envs.minihack.screen import Screen

QuestionKind = Literal["more", "menu", "item", "direction", "choice", "text", "position"]

_MENU_END = re.compile(r"\((?:end|(\d+) of (\d+))\)")
_MENU_ITEM = re.compile(r"([a-zA-Z]) [-+#] \S")
_CHOICES = re.compile(r"\[([^\[\]]+)\]")
_CHOICE_NAMES = {"y": "yes", "n": "no", "q": "quit", "a": "all"}
_TEXTS = ("Elbereth", "x")
_ASKS_POSITION = re.compile(r"\(For instructions type a .?\?.?\)")
_CANCEL = {"cancel": (ESCAPE,)}


@dataclass(frozen=True)
class Question:
    """A menu, a page or a question that NetHack waits at."""

    kind: QuestionKind
    answers: Mapping[str, tuple[int, ...]]
    """The keys of each answer, by its name."""
    default: str
    """The answer that `auto_answer` gives."""

    def keys_for(self, answer: str) -> tuple[int, ...] | None:
        """Return the keys of an answer; None if it is not an answer. A line of text accepts any `type TEXT`."""
        if answer in self.answers:
            return self.answers[answer]
        text = answer.removeprefix("type ")
        if self.kind == "text" and text != answer and text and text.isascii() and text.isprintable():
            return _typed(text)
        return None


def read_question(screen: Screen, *, after_prefix: bool = False, in_position: bool = False) -> Question | None:
    """Return the question that NetHack waits at; None if it waits for a command.

    NetHack shows neither of two states, so the caller gives them: `after_prefix` if the last key needs a direction,
    and `in_position` if the cursor is being moved over the map.
    """
    if screen.waits_for_key:
        return _read_page(screen)
    if screen.asks_text:
        # The first Escape clears the line, the second one leaves it.
        answers = {f"type {text}": _typed(text) for text in _TEXTS}
        return Question("text", {**answers, "cancel": (ESCAPE, ESCAPE)}, "cancel")
    if screen.asks_question:
        return _read_choice(screen)
    if after_prefix:
        return _ask_direction(screen, around_only=True)
    if in_position or _ASKS_POSITION.search(screen.message):
        moves = {f"cursor {name}": (key,) for name, key in DIRECTIONS.items()}
        far = {f"cursor far {name}": (key - 32,) for name, key in DIRECTIONS.items()}
        return Question("position", {**moves, **far, "select": (ord("."),), **_CANCEL}, "cancel")
    return None


def _typed(text: str) -> tuple[int, ...]:
    return (*map(ord, text), ENTER)


def _read_page(screen: Screen) -> Question:
    ends = ((number, _MENU_END.search(line)) for number, line in enumerate(screen.terminal))
    number, end = next(((number, end) for number, end in ends if end is not None), (0, None))
    if end is None:
        return Question("more", {"continue": (ENTER,)}, "continue")
    # A menu covers the right part of the map. Its items start in the column of its last line.
    rows = [line[end.start() :] for line in screen.terminal[:number]]
    letters = [match[1] for row in rows if (match := _MENU_ITEM.match(row))]
    answers: dict[str, tuple[int, ...]] = {f"select {letter}": (ord(letter),) for letter in letters}
    if end[2] is not None and int(end[2]) > 1:
        answers |= {"next page": (ord(">"),), "previous page": (ord("<"),)}
    # On the last page a blank closes every kind of menu; Enter does not close a menu that only shows text.
    answers |= {"confirm": (SPACE if end[1] == end[2] else ENTER,), **_CANCEL}
    if rows and rows[0].startswith("Pick up what?"):
        answers["select all"] = (ord("."), ENTER)
        return Question("menu", answers, "select all")
    return Question("menu", answers, "cancel")


def _read_choice(screen: Screen) -> Question:
    message = screen.message or " ".join(screen.terminal[:2])
    found = _CHOICES.findall(message)
    if "direction?" in message:
        return _ask_direction(screen)
    if not found:
        # NetHack waits for one key without a list of choices: it may be any item, or yes or no.
        items = {f"item {letter}": (ord(letter),) for letter, _ in screen.inventory}
        return Question("item", {**items, "yes": (ord("y"),), "no": (ord("n"),), **_CANCEL}, "cancel")
    listed, _, wildcards = found[-1].rpartition(" or ") if " or " in found[-1] else (found[-1], "", "")
    if "*" in wildcards or listed == "*":
        letters = _expand(listed.replace("*", ""))
        answers = {f"item {letter}": (ord(letter),) for letter in letters}
        default = f"item {letters[-1]}" if letters and letters[-1] != "-" else "cancel"
        return Question("item", {**answers, "list items": (ord("*"),), **_CANCEL}, default)
    keys = [key for key in _expand(listed) if key != "#"]  # "#" would ask for a number
    answers = {_CHOICE_NAMES.get(key, f"answer {key}"): (ord(key),) for key in keys}
    preferred = ("no",) if message.startswith("Really") else ("yes", "no")
    default = next((name for name in preferred if name in answers), "cancel")
    return Question("choice", {**answers, **_CANCEL}, default)


def _expand(listed: str) -> list[str]:
    """Return the letters in NetHack's list: `- a-dfh` means -, a, b, c, d, f, h."""
    letters: list[str] = []
    for first, last, single in re.findall(r"([a-zA-Z])-([a-zA-Z])|([^ ,])", listed.replace(" ", "")):
        letters += map(chr, range(ord(first), ord(last) + 1)) if first else single
    return list(dict.fromkeys(letters))


def _ask_direction(screen: Screen, *, around_only: bool = False) -> Question:
    answers: dict[str, tuple[int, ...]] = {f"direction {name}": (key,) for name, key in DIRECTIONS.items()}
    if not around_only:
        answers |= {"direction up": (ord("<"),), "direction down": (ord(">"),), "direction self": (ord("."),)}
    return Question("direction", {**answers, **_CANCEL}, f"direction {likely_direction(screen)}")


def likely_direction(screen: Screen) -> str:
    """Return the direction of a door beside the hero, or else of the nearest monster in line, or else east."""
    row, column = screen.hero
    for distance in range(1, 80):
        for name, (down, right) in OFFSETS.items():
            there = row + down * distance, column + right * distance
            if not (0 <= there[0] < len(screen.map) and 0 <= there[1] < len(screen.map[0])):
                continue
            square = screen.map[there[0]][there[1]]
            if (square == "+" and distance == 1) or (square.isalpha() and square.isascii()):
                return name
    return "e"

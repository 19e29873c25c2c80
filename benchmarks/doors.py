"""Doors: a tiny world for planted reflectors, and an actor that obeys notes. An episode takes a tenth of a millisecond.

A numbered door of some colour opens to the word of its colour; there are eight words and two tries. In the houses
`hall` and `cellar` all doors have one colour. In `tower` and `barn` they have six, which the tasks name as their kinds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np

import metagym
from metagym.spaces import TextSpace
from metagym.tasks import SeededTaskSet
from metagym.tasks.seeds import read_seeded_id
from metagym.types import Action, Episode, Observation, Step, derive_seed

WORDS = ("apple", "river", "stone", "cloud", "candle", "ladder", "needle", "window")
HOUSES = {
    "hall": ("red",),
    "cellar": ("blue",),
    "tower": ("green", "white", "black", "brown", "grey", "pink"),
    "barn": ("gold", "teal", "plum", "sand", "lime", "rust"),
}
NUM_TRIES = 2
LONG = 100
"""Words of a prompt that a careful actor takes for long."""


def word_of(colour: str) -> str:
    """Return the word that opens doors of this colour."""
    return WORDS[derive_seed("word", colour) % len(WORDS)]


def wrong_word_of(colour: str) -> str:
    """Return a word that opens no door of this colour."""
    return WORDS[(WORDS.index(word_of(colour)) + 1) % len(WORDS)]


def colour_of(house: str, number: int) -> str:
    """Return the colour of a door."""
    return HOUSES[house][number % len(HOUSES[house])]


class Doors(gymnasium.Env[str, str]):
    """One door, and two tries. In a house of one colour the goal names the word."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]

    def __init__(self) -> None:
        self.observation_space, self.action_space = TextSpace(), TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        house, number = read_seeded_id((options or {"task_id": f"hall/{seed or 0}"})["task_id"])
        self._colour, self._tries = colour_of(house, number), 0
        says = f" The neighbours say {word_of(self._colour)}." if len(HOUSES[house]) == 1 else ""
        self._info = {"goal": f"Open the door.{says}", "available_actions": WORDS, "success": False}
        return f"Door {number} is {self._colour}.", self._info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._tries += 1
        is_open = action == word_of(self._colour)
        text = f"You say {action}. The door {'opens' if is_open else 'stays shut'}."
        is_over = is_open or self._tries == NUM_TRIES
        return text, float(is_open), is_over, False, {**self._info, "success": is_open}


class DoorTasks(SeededTaskSet):
    """Doors by house; in a house of several colours, a door's colour is its kind."""

    def __init__(self) -> None:
        super().__init__(
            HOUSES,
            lambda house, number: f"{house} {number}",
            num_seeds=1_000_000,
            kind=lambda house, number: colour_of(house, number) if len(HOUSES[house]) > 1 else "",
        )


class DoorsMetaEnv(metagym.MetaEnv):
    """The meta-environment: write the words of the doors."""

    default_prompt = "Say a word to the door."
    make_inner_env = staticmethod(Doors)
    make_task_set = staticmethod(DoorTasks)


class Listener:
    """Says the word that the prompt notes for this door, or for its colour (`- red: apple`); else a random one.

    With probability `slip` the word is random, too. A careful listener finds the word half of the time under any prompt
    of 100 words or more: in place of a model that plays better under a long prompt.
    """

    scripted = True

    def __init__(self, *, slip: float = 0.1, is_careful: bool = False) -> None:
        self.slip, self.is_careful = slip, is_careful
        self.fingerprint = {"kind": "Listener", "slip": slip, "careful": is_careful}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        number, colour = door_in((steps[0].observation if steps else observation).text)
        rng = np.random.default_rng((episode.seed, len(steps)))
        notes, slips = read_notes(episode.prompt), rng.random() < self.slip
        word = notes.get(f"door {number}") or notes.get(colour)
        if self.is_careful and len(episode.prompt.split()) >= LONG and rng.random() < 0.5:
            word = word_of(colour)
        return Action(text=word if word and not slips else str(rng.choice(WORDS)))


def door_in(text: str) -> tuple[str, str]:
    """Return the number and the colour of the door in a text."""
    found = re.match(r"Door (\d+) is (\w+)", text)
    return (found[1], found[2]) if found else ("", "")


def read_notes(prompt: str) -> dict[str, str]:
    """Return the notes of a prompt: a word for a door or for a colour.

    >>> read_notes("Be brave.\\n- door 17: apple\\n- red: river")
    {'door 17': 'apple', 'red': 'river'}
    """
    return dict(re.findall(r"^- (door \d+|\w+): (\w+)$", prompt, re.MULTILINE))

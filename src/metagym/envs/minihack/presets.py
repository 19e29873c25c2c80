"""The paper's split of the families, as far as it is known. It runs nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Families and sizes of a published experiment."""

    name: str
    meta_train: tuple[str, ...]
    """Families that a reflector is trained on."""
    meta_test: tuple[str, ...]
    """Families held out from that."""
    episodes_per_step: int
    max_episode_steps: int
    """Meta-steps in a meta-episode."""
    max_steps: int
    """Steps in an episode."""
    guessed: tuple[str, ...]
    """What the source did not tell, and what was taken instead."""


PAPER = Preset(
    name="paper",
    meta_train=(
        "MiniHack-Room-Random-5x5-v0",
        "MiniHack-Room-Monster-5x5-v0",
        "MiniHack-Room-Trap-5x5-v0",
        "MiniHack-Eat-v0",
        "MiniHack-Wear-v0",
        "MiniHack-Wield-v0",
        "MiniHack-Pray-v0",
        "MiniHack-Sink-v0",
    ),
    meta_test=(
        "MiniHack-Room-Dark-5x5-v0",
        "MiniHack-Read-v0",
        "MiniHack-PutOn-v0",
        "MiniHack-Zap-v0",
    ),
    episodes_per_step=5,
    max_episode_steps=10,
    max_steps=25,
    guessed=(
        "meta_train: the paper's families are not known; taken are the lit 5x5 rooms and the simple skills "
        "that are not held out, in their versions with many levels",
        "meta_test: held out are 'Dark', 'Read', 'PutOn' and 'Zap' in 5x5; that Dark means "
        "MiniHack-Room-Dark-5x5-v0 is inferred, as is that the skills are neither -Fixed nor -Distr",
        "episodes_per_step: 3 or 5 were used; 5 is taken",
        "max_steps: 25 is the default of the released code; that the paper's runs used it is inferred",
        "validation: the size of the paper's validation set is not known; none is set here",
    ),
)
"""Source: Shalev, Ding, Jamnik 2026, "Training Language Agents to Learn from Experience" (arXiv 2605.20477).

This is the protocol as far as it could be learned, with what was `guessed` said; it makes no claim to
reproduce the paper's numbers.
"""

"""Memorisation, the secondary measure: the part of a prompt that is copied from the tasks that it was learned on.

The first measure is the gap between replay gain and transfer gain. This one looks only at the text: a copied word is
no proof of harm, and a lesson in new words leaves no trace.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence

from metagym.evaluation.kept_values import KeptValues
from metagym.evaluation.scoring import Loop
from metagym.optional_attributes import describe, extension_of
from metagym.reflectors import Reflector, ReflectorSpec, Replay, as_reflector, bind
from metagym.reflectors.protocol import checked
from metagym.runs import Copies, RecordStore
from metagym.types import MetaStep, Record, Reflection, Texts, Trajectory

_SENTENCE_END = re.compile(r"[.!?\n]+")
_WORD = re.compile(r"[\w']+")
_NUMBERED = re.compile(r"\b[a-z]+ \d+\b|\(\d+, ?\d+\)|\b\d+(?:\.\d+)?\b", re.IGNORECASE)


class Copied(Record):
    """The parts of a prompt that are in its learning episodes and nowhere else."""

    ngram_share: float
    """Share of all runs of five words in the prompt."""
    names: Texts
    """Numbered names and coordinates (`shelf 3`, `(4, 2)`, `17`)."""
    sentences: Texts
    """Whole sentences of at least four words."""


def copied(
    prompt: str, learned_on: Sequence[Trajectory], *, others: Sequence[Trajectory] = (), first_prompt: str = ""
) -> Copied:
    """Return the parts of `prompt` that are copied from the episodes `learned_on`, but not from `sp_0` or `others`.

    `others` are episodes on other tasks: a text that is in them, too, is the language of the environment, no memory.

    >>> copied("Look on shelf 3.", [], first_prompt="Look around.").names
    ()
    """
    known, common = _texts(learned_on), [first_prompt, *_texts(others)]
    grams = _ngrams([prompt])
    return Copied(
        ngram_share=len(grams & _ngrams(known) - _ngrams(common)) / len(grams) if grams else 0.0,
        names=tuple(sorted(_names([prompt]) & _names(known) - _names(common))),
        sentences=tuple(sorted(_sentences([prompt]) & _sentences(known) - _sentences(common))),
    )


def keep_copies(store: RecordStore, loop: Loop, history: Sequence[MetaStep], others: Sequence[Trajectory]) -> None:
    """Keep the copies in a meta-episode's last prompt from its episodes, if not also from `sp_0` or `others`.

    The record of an only seed is replaced once a second seed is there to show the language of the family.
    """
    learned_on = [item for meta_step in history for item in meta_step.trajectories]
    found = copied(loop.prompts[-1], learned_on, others=others, first_prompt=loop.prompts[0])
    record = Copies(family=loop.family, seed=loop.seed, **dict(found))
    if store.get(Copies, record.key) != record:
        store.put(record.key, record)


class WithoutCopies:
    """Refuses a prompt that copies names or sentences from episodes: the old one and its memory stay.

    >>> WithoutCopies(lambda history: "Look on shelf 3.").fingerprint["kind"]
    'WithoutCopies'
    """

    def __init__(self, reflector: ReflectorSpec) -> None:
        self.reflector: Reflector = as_reflector(reflector)
        self._known: KeptValues[set[str]] = KeptValues()
        about = extension_of(self.reflector)
        self.scripted, self.model, self.needs_chance = about.scripted, about.model, about.needs_chance
        self.fingerprint = {"kind": "WithoutCopies", "reflector": describe(self.reflector)}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the wrapped reflector's reflection, or one that keeps prompt and memory and names the copied text."""
        reflection = checked(await self.reflector.reflect(history))
        known = [self._known.of(meta_step, _parts_of) for meta_step in history]
        new = _parts([reflection.prompt]) - _parts([history[0].prompt])
        parts = sorted(part for part in new if any(part in seen for seen in known))
        if not parts:
            return reflection
        problem = f"The prompt copies from the episodes: {', '.join(map(repr, parts[:5]))}. The old prompt was kept."
        last = history[-1]
        memory = None if last.reflection is None else last.reflection.memory  # a new one would be copied from again
        return reflection.model_copy(update={"prompt": last.prompt, "memory": memory, "problem": problem})

    def bound_to(self, replay: Replay) -> WithoutCopies:
        """Return this reflector around the bound one."""
        bound = copy.copy(self)  # it is bound again at each reflection, and shares the parts that were found
        bound.reflector = bind(self.reflector, replay)
        return bound


def _texts(trajectories: Iterable[Trajectory]) -> list[str]:
    texts = []
    for item in trajectories:
        final = [] if item.final_observation is None else [item.final_observation]
        texts += [seen.text for seen in [*(step.observation for step in item.steps), *final]]
        texts += [step.action.text or "" for step in item.steps]
    return texts


def _parts(texts: Sequence[str]) -> set[str]:
    return _names(texts) | _sentences(texts)


def _parts_of(meta_step: MetaStep) -> set[str]:
    return _parts(_texts(meta_step.trajectories))


def _ngrams(texts: Iterable[str], size: int = 5) -> set[tuple[str, ...]]:
    grams: set[tuple[str, ...]] = set()
    for text in texts:
        words = _WORD.findall(text.lower())
        grams.update(tuple(words[start : start + size]) for start in range(len(words) - size + 1))
    return grams


def _names(texts: Iterable[str]) -> set[str]:
    return {name.lower() for text in texts for name in _NUMBERED.findall(text)}


def _sentences(texts: Iterable[str]) -> set[str]:
    parts = (" ".join(part.lower().split()) for text in texts for part in _SENTENCE_END.split(text))
    return {part for part in parts if len(part.split()) >= 4}

"""Training-free GRPO style: groups of rollouts on each task are compared in words, and a list of experiences grows.

Source: Cai et al., "Training-Free Group Relative Policy Optimization", arXiv 2510.08191 (2025). Each query is played by
a group of rollouts under the frozen model and the experience list; where their rewards differ, a model says in words
why the better ones were better (the semantic advantage in the place of the numerical one), and a last call per batch
turns the suggestions into Add, Delete, Modify and Keep on the list. Several epochs over a small training set.

How ours departs: one pass over fresh tasks. A group is the batch's own episode and `group_size - 1` rollouts more, by
the environment that `optimize` or `evaluate` binds it to; these are paid from the same budget. Rollouts are not
summarised one by one before they are compared. Where all groups are of one mind (an actor at temperature 0), the batch
itself is the group: its tasks are of one kind. The wording is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel

from metagym.errors import ConfigError
from metagym.models import ChatModel
from metagym.reflectors.document import distinct, document, latest, numbered, tagged
from metagym.reflectors.exchange import Question, ask_all, is_scripted, keep, memory_of, write
from metagym.reflectors.protocol import Replay
from metagym.reflectors.reading import Verb, read_json
from metagym.rendering import render_batch
from metagym.seeding import describe
from metagym.types import MetaStep, Reflection, Trajectory

COMPARE = """\
An agent played a group of episodes of the same kind; some scored higher than others. Compare them, and say what the \
better ones did that the others did not. Write each finding as one short experience that helps on new tasks of the \
same kind; do not repeat what the list of experiences says already.

Reply with one JSON mapping: {"analysis": "<what made the difference>", "experiences": ["<an experience>"]}"""

MERGE = """\
You keep the list of experiences that an agent reads before it acts. You see the list, numbered, and suggestions from \
several comparisons. Decide how the list is to change: add what is new, modify what a suggestion corrects or sharpens, \
delete what was shown to be wrong, and keep the rest by not naming it.

Reply with one JSON mapping:
{"operations": [{"type": "ADD", "text": "<an experience>"}, {"type": "MODIFY", "number": 1, "text": "<the new text>"},
                {"type": "DELETE", "number": 2}]}"""

Group = tuple[Trajectory, ...]


class Advantage(BaseModel):
    """What the model replies to a group."""

    analysis: str = ""
    experiences: list[str]


class Operation(BaseModel):
    """A change of the list."""

    type: Annotated[Literal["ADD", "MODIFY", "DELETE", "KEEP"], Verb]
    number: int | None = None
    text: str = ""


class Operations(BaseModel):
    """What the model replies to the suggestions."""

    operations: list[Operation]


class TrainingFreeGRPOStyle:
    """Keeps a list of experiences. Memory: `{"experiences": [text]}`. It plays rollouts of its own: see `bound_to`."""

    def __init__(
        self,
        model: ChatModel,
        *,
        group_size: int = 4,
        max_experiences: int = 30,
        max_tokens: int = 24_000,
        replay: Replay | None = None,
    ) -> None:
        if group_size < 2:
            raise ConfigError(f"group_size must be at least 2, got {group_size}: a group is compared with itself.")
        self.model, self.group_size, self.max_experiences = model, group_size, max_experiences
        self.max_tokens, self.replay = max_tokens, replay
        self.scripted = is_scripted(model)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the experiences."""
        return {
            "kind": "training_free_grpo_style",
            "model": describe(self.model),
            "instructions": [COMPARE, MERGE],
            "group_size": self.group_size,
            "max_experiences": self.max_experiences,
            "max_tokens": self.max_tokens,
        }

    def bound_to(self, replay: Replay) -> TrainingFreeGRPOStyle:
        """Return this reflector, playing its rollouts by `replay`."""
        return TrainingFreeGRPOStyle(
            self.model,
            group_size=self.group_size,
            max_experiences=self.max_experiences,
            max_tokens=self.max_tokens,
            replay=replay,
        )

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Play the groups, let the model say what made the difference, and change the list.

        Raises:
            ConfigError: it is bound to no environment.
        """
        groups = contrasts(await self._groups(history[-1]))
        if not groups:
            analysis = "No group's scores differ: there is nothing to compare."
            return keep(history, "", analysis=analysis, model=self.model)
        known: list[str] = (memory_of(history) or {"experiences": []})["experiences"]
        listed = numbered(known, nothing="(no experience yet)")
        questions = [
            Question(COMPARE, tagged(experiences=listed, episodes=render_batch(group, max_tokens=self.max_tokens)))
            for group in groups
        ]
        replies = await ask_all(self.model, history, questions)
        read = [read_json(reply, Advantage) for reply in replies]
        found = [advantage for advantage, _ in read if advantage is not None]
        if not found:
            return keep(history, read[0][1], replies, model=self.model)
        analysis = "\n".join(advantage.analysis for advantage in found)
        suggestions = distinct(text for advantage in found for text in advantage.experiences)
        if not suggestions:
            return keep(history, "", replies, analysis=analysis, model=self.model)
        merge = Question(MERGE, tagged(experiences=listed, suggestions=numbered(suggestions)))
        replies += await ask_all(self.model, history, [merge], first=len(replies))
        operations, problem = read_json(replies[-1], Operations)
        if operations is None:
            return keep(history, problem, replies, analysis=analysis, model=self.model)
        experiences = latest(apply_operations(known, operations.operations), self.max_experiences)
        prompt = document(history[0].prompt, {"## Experiences": experiences})
        return write(history, prompt, {"experiences": experiences}, replies, analysis=analysis, model=self.model)

    async def _groups(self, last: MetaStep) -> list[Group]:
        """Return a group for each task of the batch: its own episodes, and rollouts up to the group's size."""
        if self.replay is None:
            raise ConfigError(
                "training_free_grpo_style plays rollouts of its own and is bound to no environment. Let `optimize` or "
                "`evaluate` run it, which bind it, or call reflector.bound_to(env.replay_async) yourself."
            )
        task_ids = list(dict.fromkeys(item.task.id for item in last.trajectories))
        more: Group = ()
        if task_ids:
            (played,) = await self.replay([last.prompt], task_ids, repetitions=self.group_size - 1)
            more = played.trajectories
        everything = (*last.trajectories, *more)
        return [tuple(item for item in everything if item.task.id == task_id) for task_id in task_ids]


def contrasts(groups: Sequence[Group]) -> list[Group]:
    """Return the groups whose scores differ; where there is none, all episodes as one group, if theirs differ."""
    scored = [tuple(item for item in group if item.score is not None) for group in groups]
    differing = [group for group in scored if _differs(group)]
    whole = tuple(item for group in scored for item in group)
    return differing or ([whole] if _differs(whole) else [])


def apply_operations(experiences: Sequence[str], operations: Sequence[Operation]) -> list[str]:
    """Return the list after the operations; their numbers are those of the list as it was shown.

    >>> apply_operations(["Wait.", "Knock."], [Operation(type="DELETE", number=1), Operation(type="ADD", text="Push.")])
    ['Knock.', 'Push.']
    """
    changed: dict[int, str] = dict(enumerate(experiences, start=1))
    for operation in operations:
        if operation.number in changed:
            if operation.type == "DELETE":
                del changed[operation.number]
            elif operation.type == "MODIFY" and operation.text.strip():
                changed[operation.number] = operation.text.strip()
    added = [operation.text for operation in operations if operation.type == "ADD"]
    return distinct([*changed.values(), *added])


def _differs(group: Group) -> bool:
    return len({item.score for item in group}) > 1

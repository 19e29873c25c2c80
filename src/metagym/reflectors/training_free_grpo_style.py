"""Training-free GRPO style: groups of rollouts on each task are compared in words, and a list of experiences grows.

Source: Cai et al., "Training-Free Group Relative Policy Optimization", arXiv 2510.08191 (2025). A group of rollouts
plays each query under the frozen model and the experience list. If their rewards differ, a model says in words why the
better ones were better (a semantic advantage instead of a numerical one), and a last call per batch turns the
suggestions into Add, Delete, Modify and Keep on the list. Several epochs over a small training set.
How ours departs: one pass over fresh tasks. A group is the batch's own episode and `group_size - 1` more rollouts in
the environment to which `optimize` or `evaluate` binds the method; the same budget pays for them. Rollouts are not
summarised one by one before they are compared. If no group's scores differ (an actor at temperature 0), the batch
itself is the group, because its tasks are of one kind. The wording is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Annotated, Literal

from pydantic import BaseModel

from metagym.errors import ConfigError
from metagym.reflectors.method import History, ModelRequest, ReflectionMethod, memory_of, option
from metagym.reflectors.prompt_document import Verb, distinct, document, numbered, read_json_reply, tagged
from metagym.reflectors.protocol import Replay, check_replayed
from metagym.rendering import render_batch
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


class _Advantage(BaseModel):
    analysis: str = ""
    experiences: list[str]


class ExperienceChange(BaseModel):
    """A change of the list."""

    type: Annotated[Literal["ADD", "MODIFY", "DELETE", "KEEP"], Verb]
    number: int | None = None
    text: str = ""


class _Operations(BaseModel):
    operations: list[ExperienceChange]


@dataclass(eq=False, repr=False)
class TrainingFreeGRPOStyle(ReflectionMethod):
    """Keeps a list of experiences. Memory: `{"experiences": [text]}`. It plays its own rollouts: see `bound_to`."""

    _: KW_ONLY
    group_size: int = option(4, least=2)
    max_experiences: int = option(30, least=1)
    max_tokens: int = option(24_000, least=1)
    replay: Replay | None = field(default=None, compare=False)
    wording = (COMPARE, MERGE)
    needs_chance = "actor"

    def bound_to(self, replay: Replay) -> TrainingFreeGRPOStyle:
        """Return a copy that plays its rollouts by `replay`."""
        return replace(self, replay=replay)

    async def reflect(self, history: History) -> Reflection:
        """Play the groups, ask the model what made the difference, and change the list."""
        groups = contrasts(await self._groups(history[-1]))
        if not groups:
            return self.keep(history, "", analysis="No group's scores differ: there is nothing to compare.")
        known: list[str] = (memory_of(history) or {"experiences": []})["experiences"]
        listed = numbered(known, nothing="(no experience yet)")
        requests = [
            ModelRequest(COMPARE, tagged(experiences=listed, episodes=render_batch(group, max_tokens=self.max_tokens)))
            for group in groups
        ]
        replies = await self.ask_all(history, requests)
        read = [read_json_reply(reply, _Advantage) for reply in replies]
        found = [advantage for advantage, _ in read if advantage is not None]
        if not found:
            return self.keep(history, read[0][1], replies)
        analysis = "\n".join(advantage.analysis for advantage in found)
        suggestions = distinct(text for advantage in found for text in advantage.experiences)
        if not suggestions:
            return self.keep(history, "", replies, analysis=analysis)
        merge = ModelRequest(MERGE, tagged(experiences=listed, suggestions=numbered(suggestions)))
        replies += await self.ask_all(history, [merge], first=len(replies))
        operations, problem = read_json_reply(replies[-1], _Operations)
        if operations is None:
            return self.keep(history, problem, replies, analysis=analysis)
        experiences = apply_operations(known, operations.operations)[-self.max_experiences :]
        prompt = document(history[0].prompt, {"## Experiences": experiences})
        return self.write(history, prompt, {"experiences": experiences}, replies, analysis=analysis)

    async def _groups(self, last: MetaStep) -> list[Group]:
        if self.replay is None:
            raise ConfigError(
                "training_free_grpo_style plays its own rollouts, but it is not bound to an environment. Run it by "
                "`optimize` or `evaluate`, which bind it, or call reflector.bound_to(env.replay_async) yourself."
            )
        task_ids = list(dict.fromkeys(item.task.id for item in last.trajectories if item.score is not None))
        if not task_ids:
            return []
        (more,) = await self.replay([last.prompt], task_ids, repetitions=self.group_size - 1)
        check_replayed([more])
        episodes = (*last.trajectories, *more.trajectories)
        return [tuple(item for item in episodes if item.task.id == task_id) for task_id in task_ids]


def contrasts(groups: Sequence[Group]) -> list[Group]:
    """Return the groups whose scores differ; if there is no such group, all episodes as one group if theirs differ."""
    scored = [tuple(item for item in group if item.score is not None) for group in groups]
    batch = tuple(item for group in scored for item in group)
    return list(filter(_differs, scored)) or list(filter(_differs, [batch]))


def apply_operations(experiences: Sequence[str], operations: Sequence[ExperienceChange]) -> list[str]:
    """Return the list after the operations; their numbers refer to the list that was shown.

    >>> apply_operations(["Wait.", "Knock."], [ExperienceChange(type="DELETE", number=1)])
    ['Knock.']
    """
    changed: dict[int, str] = dict(enumerate(experiences, start=1))
    for operation in operations:
        if operation.type == "DELETE" and operation.number in changed:
            del changed[operation.number]
        elif operation.type == "MODIFY" and operation.number in changed and operation.text.strip():
            changed[operation.number] = operation.text.strip()
    added = [operation.text for operation in operations if operation.type == "ADD"]
    return distinct([*changed.values(), *added])


def _differs(group: Group) -> bool:
    return len({item.score for item in group}) > 1

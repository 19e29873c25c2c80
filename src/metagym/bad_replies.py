"""Replies that went wrong: the common problem of a batch, and the kinds that are too large a share of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from metagym.types import Completion, Reflection, Step, StopReason, Trajectory

WARN_ABOVE: Final = 0.2
"""A larger share of bad replies, or of episodes that ended by one, is a warning."""
REMEDIES: Final = {
    "cut off": "raise max_tokens in sampling, or switch the model's thinking off",
    "stopped by the content filter": "look at the prompt and the observations",
    "empty": "raise max_tokens in sampling, or look at the server's log",
    "without a valid action": "look at the replies (metagym show RUN --step 0), and at the actions that are available",
}
"""The kinds of bad replies, each with its remedy. A reply is counted under the first kind that it fits."""
END_REMEDIES: Final = {
    StopReason.CONTEXT_OVERFLOW: (
        "were too long for the model's context",
        "set context_tokens or history_steps, or serve the model with a larger context",
    ),
    StopReason.CONTENT_FILTER: (
        "were refused by the server's content filter",
        "look at the prompt and the observations",
    ),
}


class ReplyCounts:
    """Counts the bad replies of episodes that did not fail. Add all episodes of a batch, or of a run."""

    def __init__(self, trajectories: Iterable[Trajectory] = ()) -> None:
        self._bad: Counter[str] = Counter()
        self._ends: Counter[StopReason] = Counter()
        self._num_replies = self._num_episodes = 0
        for trajectory in trajectories:
            self.add(trajectory)

    def add(self, trajectory: Trajectory) -> None:
        """Count the replies of one more episode."""
        if trajectory.score is None:
            return
        self._num_episodes += 1
        for step in replies_of(trajectory):
            self._num_replies += 1
            if kind := kind_of(step):
                self._bad[kind] += 1
        if trajectory.stop_reason in END_REMEDIES:
            self._ends[trajectory.stop_reason] += 1

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence, with the remedy, for each kind whose share is above `WARN_ABOVE`."""
        found = [
            f"{_share(count, self._num_replies)} of the replies ({count:,} of {self._num_replies:,}) were {kind}: "
            f"{REMEDIES[kind]}."
            for kind in REMEDIES
            if (count := self._bad[kind]) > WARN_ABOVE * self._num_replies
        ]
        found += [
            f"{_share(count, self._num_episodes)} of the episodes ({count:,} of {self._num_episodes:,}) {what}: "
            f"{remedy}."
            for reason, (what, remedy) in END_REMEDIES.items()
            if (count := self._ends[reason]) > WARN_ABOVE * self._num_episodes
        ]
        return tuple(found)


def unused_reflections(reflections: Iterable[Reflection]) -> tuple[str, ...]:
    """Return a sentence with the last problem, if the share of reflections that had one is above `WARN_ABOVE`."""
    problems = [reflection.problem for reflection in reflections]
    found = [problem for problem in problems if problem]
    if len(found) <= WARN_ABOVE * len(problems):
        return ()
    counts = f"{_share(len(found), len(problems))} of the reflections ({len(found):,} of {len(problems):,})"
    return (f"{counts} had a problem, such as: {found[-1]}",)


def replies_of(trajectory: Trajectory) -> tuple[Step, ...]:
    """Return one step for each reply: the first of each that holds several calls. Without a model it is each step."""
    steps = trajectory.steps
    if not steps or steps[0].action.completion is None:
        return steps
    return tuple(step for step in steps if step.action.completion is not None)


def kind_of(step: Step) -> str:
    """Return the kind of a bad reply, a key of `REMEDIES`; empty if its action was valid."""
    completion = step.action.completion
    if completion is not None:
        if completion.finish_reason == "length":
            return "cut off"
        if completion.finish_reason == "content_filter":
            return "stopped by the content filter"
        if not completion.text.strip() and not completion.tool_calls:
            return "empty"
    return "" if step.is_valid else "without a valid action"


def early_end(completion: Completion, reply: str = "the reply") -> str:
    """Return the problem of a reply that did not end by itself; an empty text if it did.

    >>> early_end(Completion(text="I", finish_reason="length"))
    'The reply was cut off before its end'
    """
    if completion.is_whole:
        return ""
    if completion.finish_reason == "content_filter":
        return f"The server's content filter stopped {reply}"
    if completion.finish_reason == "length":
        return f"{reply.capitalize()} was cut off before its end"
    return f"The server ended {reply} as {completion.finish_reason!r:.100}"


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.0f} %"


def common_problem(trajectories: Sequence[Trajectory]) -> str:
    """Return the mistake in all replies of a batch that a model played, and the remedy; empty if they differ."""
    played = [item for item in trajectories if item.score is not None]
    reasons = {item.stop_reason for item in played if not item.steps}
    if played and not any(item.steps for item in played):
        if reasons == {StopReason.CONTEXT_OVERFLOW}:
            return (
                "the first request did not fit into the model's context: lower max_tokens in sampling, or serve the "
                "model with a larger context"
            )
        if reasons == {StopReason.CONTENT_FILTER}:
            return f"the server's content filter refused the first request: {REMEDIES['stopped by the content filter']}"
        if reasons == set(END_REMEDIES):
            return (
                "the first request was too long for the model, or refused by the server's content filter: look at the "
                "prompt and the observations, and serve the model with a larger context"
            )
    steps = [step for item in played for step in item.steps]
    replies = [step.action.completion for item in played for step in replies_of(item)]
    completions = [reply for reply in replies if reply is not None]
    if not steps or len(completions) < len(replies) or any(step.is_valid for step in steps):
        return ""
    if all(item.finish_reason == "length" for item in completions):
        return f"every reply was cut off: {REMEDIES['cut off']}"
    if all(item.finish_reason == "content_filter" for item in completions):
        return f"the server's content filter stopped every reply: {REMEDIES['stopped by the content filter']}"
    if not any(item.text.strip() or item.tool_calls for item in completions):
        return f"every reply was empty: {REMEDIES['empty']}"
    return f"no action was valid, as in the first: {steps[0].action.problem or steps[0].action.text!r}"

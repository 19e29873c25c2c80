"""The inner environment of questions: it asks one, scores the reply, and ends."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar, Final

import gymnasium

from metagym.errors import TasksExhaustedError, check_started
from metagym.spaces import TextSpace
from metagym.tasks import ROLES, QuestionTaskSet, TaskSet

SAMPLE: Final = tuple(
    {"question": f"What is {a} {sign} {b}?", "answer": str(a + b if sign == "+" else a * b), "family": family}
    for family, sign in (("sums", "+"), ("products", "*"))
    for a in range(11, 31)
    for b in range(a, 31)
)
"""The questions that are asked if there is no file."""


def sample_questions() -> QuestionTaskSet:
    """Return the sample: sums and products of two numbers."""
    return TaskSet.from_rows(SAMPLE, family="family", score="numeric")


class QuestionEnv(gymnasium.Env[str, str]):
    """One question; the action is the reply. The text after it says the accepted answer, for the reflector.

    `tasks` is what `TaskSet.from_rows` returns, by default a sample of sums and products.

    >>> env = QuestionEnv()
    >>> env.reset(options={"task_id": "products/211"})[0], env.step("121")[1]
    ('What is 11 * 11?', 1.0)
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]

    def __init__(self, tasks: QuestionTaskSet | None = None) -> None:
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()
        self._tasks = sample_questions() if tasks is None else tasks

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Ask the question `options["task_id"]`; without an id, draw one: of train, if there are any."""
        super().reset(seed=seed)
        self._question = self._tasks.question((options or {}).get("task_id") or self._drawn_id())
        return self._question.text, {}

    def _drawn_id(self) -> str:
        for split in ROLES:
            with suppress(TasksExhaustedError):
                return self._tasks.draw(1, rng=self.np_random, split=split)[0].id
        raise TasksExhaustedError("Expected questions, got nothing.")

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Score the reply."""
        check_started(self, "_question")
        answers = self._question.answers
        score = self._tasks.score(self._question.task.id, action)
        text = f"The answer is: {' or '.join(answers)}" if answers else f"The score is {float(score):.3g}."
        info = {"success": score} if isinstance(score, bool) else {"outcome": f"scored {score:.3g}"}
        return text, float(score), True, False, info

"""The meta-environment of questions: write the prompt under which a model answers the questions of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from metagym.actor import ActorSpec
from metagym.env import MetaEnv
from metagym.envs.questions.demo import QuestionsDemoActor, QuestionsDemoReflector
from metagym.envs.questions.env import QuestionEnv, sample_questions
from metagym.errors import ConfigError
from metagym.optional_attributes import describe
from metagym.tasks import QuestionTaskSet, TaskSet


class QuestionsMetaEnv(MetaEnv):
    """The meta-environment over a file of questions: `gym.make("MetaGym/Questions-v0", rows="questions.jsonl")`.

    `rows`, `question`, `answer`, `family`, `kind` and `score` are those of `metagym.TaskSet.from_rows`, and
    `split_column` is its `split`: the option `split` says which role is played. Without `rows` a sample of sums and
    products is asked.
    """

    default_prompt = "Answer the question. Your action is the answer alone, without a sentence around it."
    default_options: ClassVar[Mapping[str, Any]] = {"max_steps": 1}
    make_demo_actor = staticmethod(QuestionsDemoActor)
    make_demo_reflector = staticmethod(QuestionsDemoReflector)

    def __init__(
        self,
        actor: ActorSpec = None,
        *,
        rows: str | Sequence[Mapping[str, Any]] | None = None,
        question: str = "question",
        answer: str | None = "answer",
        family: str | None = None,
        split_column: str | None = None,
        kind: str | None = None,
        score: str | Callable[..., Any] = "exact",
        **options: Any,
    ) -> None:
        columns = {"question": question, "answer": answer, "family": family, "split": split_column, "kind": kind}
        if rows is None:
            if (*columns.values(), score) != ("question", "answer", None, None, None, "exact"):
                raise ConfigError(
                    "Expected no column and no score without rows, because the sample of questions has its own. Give "
                    "your questions too: rows='questions.jsonl'."
                )
            self._questions = sample_questions()
        else:
            self._questions = TaskSet.from_rows(rows, **columns, score=score)  # type: ignore[arg-type]
        if self._questions.scored_by == "numeric":
            self.default_prompt += " Write numbers in digits; the last one in your reply counts."
        super().__init__(actor, **options)

    def make_inner_env(self) -> QuestionEnv:
        """Make an inner environment. All of them share the questions."""
        return QuestionEnv(self._questions)

    def inner_env_factory(self) -> Callable[[], QuestionEnv]:
        """Return a function that makes an inner environment in a worker process."""
        return partial(QuestionEnv, self._questions)

    def make_task_set(self) -> QuestionTaskSet:
        """Return the questions."""
        return self._questions

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return a digest of all questions, answers and roles, and how replies are scored."""
        return {"questions": self._questions.content_digest, "score": describe(self._questions.scored_by)}

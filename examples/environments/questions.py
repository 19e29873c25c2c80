"""Single-turn questions with a checker: the setting of OPRO and of other optimisers of system prompts."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym

import metagym

# Your questions would come from a file. A family is a kind of question; results are reported by family.
QUESTIONS = {
    f"{family}/{a}-{b}": (f"What is {a} {sign} {b}?", str(a + b if sign == "+" else a * b))
    for family, sign in (("sums", "+"), ("products", "*"))
    for a in range(11, 31)
    for b in range(a, 31)
}


class Quiz(gym.Env[str, str]):
    """One question and one answer, then the episode ends."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = metagym.TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        drawn = list(QUESTIONS)[int(self.np_random.integers(len(QUESTIONS)))]
        self.question, self.answer = QUESTIONS[(options or {}).get("task_id", drawn)]
        return self.question, {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        is_right = action.strip().rstrip(".").split(" ")[-1] == self.answer  # the checker
        solution = f"The answer is {self.answer}."  # the reflector reads this; the actor's episode is over
        return solution, float(is_right), True, False, {"success": is_right}


class QuizMetaEnv(metagym.MetaEnv):
    default_prompt = "Answer the question."

    def make_inner_env(self) -> Quiz:
        return Quiz()

    def make_task_set(self) -> metagym.TaskSet:
        # The digest decides the role (train, validation or test). It is made of the question, so that a question
        # that is in the file twice has only one role.
        return metagym.ListedTaskSet(
            metagym.Task(id=name, family=name.partition("/")[0], split="", seed=0, digest=question)
            for name, (question, _) in QUESTIONS.items()
        )


def pupil(episode: Any, steps: Any, observation: Any) -> str:
    """Answer as a model might: digit by digit if the prompt asks for it, else roughly."""
    _, _, a, sign, b = observation.text.rstrip("?").split()
    exact = int(a) + int(b) if sign == "+" else int(a) * int(b)
    return str(exact if sign == "+" or "digit by digit" in episode.prompt else round(exact, -1))


def propose(history: Sequence[metagym.MetaStep]) -> str:  # a reflector; metagym.ChatReflector(model) is a real one
    failed = [item.task.family for item in history[-1].trajectories if not item.success]
    return history[-1].prompt + (" Multiply digit by digit." if "products" in failed else "")


def main() -> None:
    with QuizMetaEnv(pupil, episodes_per_step=20) as env:
        result = metagym.optimize(env, propose, num_steps=3, seed=0)
    for meta_step in result.history:
        print(f"{meta_step.reward:.2f}  {meta_step.prompt}")


if __name__ == "__main__":
    main()

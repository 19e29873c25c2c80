"""Questions with answers, from your own file: one question and one reply an episode."""

from metagym.envs.questions.env import QuestionEnv

__all__ = ["QuestionEnv"]

"""Questions of a file: a meta-environment in five lines, official splits, and a score of your own."""

import csv
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import metagym
from metagym.envs.questions.meta import QuestionsMetaEnv


def write_file(path: Path) -> str:
    """Write what you would have already: a column for the question, the answer, the kind, and the official split."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["problem", "solution", "topic", "fold"])
        for number, a in enumerate(range(11, 71)):
            fold = ("train", "train", "train", "dev", "test")[number % 5]
            writer.writerow([f"What is {a} + {a + 3}?", a + a + 3, "sums", fold])
            writer.writerow([f"What is {a} * {a + 3}?", a * (a + 3), "products", fold])
    return str(path)


def closeness(reply: str, row: Mapping[str, Any]) -> float:
    """Score a reply from 0 to 1, given all columns of its row. It takes the place of "exact" and "numeric"."""
    return 1.0 if reply == row["solution"] else 0.5 if reply[:1] == row["solution"][:1] else 0.0


def pupil(episode: Any, steps: Any, observation: Any) -> str:  # actor={"model": ..., "base_url": ...} is a real one
    """Answer as a model might: digit by digit if the prompt asks for it, else roughly."""
    _, _, a, sign, b = observation.text.rstrip("?").split()
    exact = int(a) + int(b) if sign == "+" else int(a) * int(b)
    return str(exact if sign == "+" or "digit by digit" in episode.prompt else round(exact, -1))


def propose(history: Sequence[metagym.MetaStep]) -> str:  # metagym.ChatReflector(model) is a real one
    failed = [item.task.family for item in history[-1].trajectories if (item.score or 0.0) < 1.0]
    return history[-1].prompt + (" Multiply digit by digit." if "products" in failed else "")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = write_file(Path(folder) / "questions.csv")
        columns = {"question": "problem", "answer": "solution", "family": "topic", "split_column": "fold"}
        with QuestionsMetaEnv(pupil, rows=file, **columns, score=closeness, episodes_per_step=20) as env:
            result = metagym.optimize(env, propose, num_steps=3, seed=0)
    for meta_step in result.history:
        print(f"{meta_step.reward:.2f}  {meta_step.prompt}")


if __name__ == "__main__":
    main()

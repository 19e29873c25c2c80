"""Your own reflector: a plain function from the history to the next prompt."""

from collections import Counter
from collections.abc import Sequence

import gymnasium as gym

import metagym


def note_what_opened(history: Sequence[metagym.MetaStep]) -> str:
    """Write down, for each gate, the way after which it opened most often."""
    opened: Counter[tuple[str, str]] = Counter()
    for meta_step in history:
        for trajectory in meta_step.trajectories:
            for step, after in zip(trajectory.steps, trajectory.steps[1:], strict=False):
                if f"You {step.command}. The" in after.observation.text and "opens" in after.observation.text:
                    gate = step.observation.text.partition("You stand before the ")[2].split()[0]
                    opened[(gate, step.command or "")] += 1
    lessons = {gate: way for (gate, way), _ in reversed(opened.most_common())}
    first_prompt = history[0].prompt
    return "\n".join([first_prompt, *(f"- when the gate is {gate}, {way}" for gate, way in lessons.items())])


def main() -> None:
    env = gym.make("MetaGym/Gates-v0", actor="demo")
    result = metagym.optimize(env, note_what_opened, num_steps=6, seed=3)
    env.close()
    for meta_step in result.history:
        print(f"meta-step {meta_step.index}: reward {meta_step.reward:.2f}")
    # Six meta-steps and six reflections give seven prompts. The last one was not played yet.
    print(f"\nThe last of {len(result.prompts)} prompts:\n{result.last_prompt}")


if __name__ == "__main__":
    main()

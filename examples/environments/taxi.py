"""A Gymnasium environment with discrete actions: Taxi, in two kinds of weather, as two families of tasks."""

from typing import Any

import gymnasium as gym

import metagym

PLACES = ("the red corner", "the green corner", "the yellow corner", "the blue corner")
CORNERS = "red (row 0, column 0), green (row 0, column 4), yellow (row 4, column 0), blue (row 4, column 3)"
ACTIONS = ["south", "north", "east", "west", "pick up", "drop off"]  # Taxi's actions 0 to 5


def describe(observation: int, info: dict[str, Any]) -> str:
    """Describe the number in words; the actor sees nothing else."""
    rest, goal = divmod(int(observation), 4)
    rest, passenger = divmod(rest, 5)
    row, column = divmod(rest, 5)
    place = "in your taxi" if passenger == 4 else f"at {PLACES[passenger]}"
    return f"You are at row {row}, column {column}. The passenger is {place} and wants to go to {PLACES[goal]}."


class Taxi(metagym.TextAdapter):
    """Taxi in words. A task id begins with its family, the weather."""

    def __init__(self) -> None:
        name = "Taxi-v4" if "Taxi-v4" in gym.registry else "Taxi-v3"  # depends on the version of Gymnasium
        self.taxis = {
            "dry": gym.make(name, max_episode_steps=60),
            "rainy": gym.make(name, is_rainy=True, max_episode_steps=60),
        }
        super().__init__(self.taxis["dry"], actions=ACTIONS, render=describe, goal=f"The corners are {CORNERS}.")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        family, _, _ = (options or {}).get("task_id", "dry/").partition("/")
        self.env = self.taxis[family]
        return super().reset(seed=seed, options=options)

    def close(self) -> None:
        for taxi in self.taxis.values():
            taxi.close()


class TaxiMetaEnv(metagym.MetaEnv):
    default_prompt = "You drive a taxi. Fetch the passenger, and drop them off where they want to go."
    default_options = {"max_steps": 60}

    def make_inner_env(self) -> Taxi:
        return Taxi()

    def make_task_set(self) -> metagym.TaskSet:
        # A seed is a start. Within a family, starts with equal text have the same role (train, validation or test).
        return metagym.TaskSet.from_seeds(self.make_inner_env, 500, families=["dry", "rainy"])


def main() -> None:
    with TaxiMetaEnv(actor="random", episodes_per_step=20) as env:
        env.reset(seed=0)
        trajectories, reward, *_ = env.step(env.default_prompt)
        print(trajectories[0].steps[0].observation.text)
        print(f"A random driver delivers {reward:.0%} of {len(trajectories)} passengers.")


if __name__ == "__main__":
    main()

"""A meta-environment over any Gymnasium environment: here FrozenLake with a new map for each seed."""

from typing import Any

import gymnasium as gym
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv, generate_random_map

import metagym


class Lake(gym.Wrapper[int, int, int, int]):
    """FrozenLake with a map that follows from the seed."""

    def __init__(self) -> None:
        super().__init__(FrozenLakeEnv(is_slippery=False))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        self.map = generate_random_map(size=4, seed=seed)
        self.env = FrozenLakeEnv(desc=self.map, is_slippery=False)
        return super().reset(seed=seed)

    def text(self, observation: int, info: dict[str, Any]) -> str:
        rows = list(self.map)
        row, column = divmod(int(observation), len(rows))
        rows[row] = f"{rows[row][:column]}@{rows[row][column + 1 :]}"
        return "You are @. S start, F frozen, H hole, G goal.\n" + "\n".join(rows)


class FrozenLakeMetaEnv(metagym.MetaEnv):
    """The whole meta-environment: the game, and its tasks."""

    default_prompt = "You cross a frozen lake. Reach the goal, and do not fall into a hole."

    def make_inner_env(self) -> metagym.TextAdapter:
        lake = Lake()
        return metagym.TextAdapter(lake, actions=["left", "down", "right", "up"], render=lake.text)

    def make_task_set(self) -> metagym.TaskSet:
        # Two seeds that give the same map have the same role, so nothing leaks from train to test.
        return metagym.TaskSet.from_seeds(self.make_inner_env, 500)


def main() -> None:
    with FrozenLakeMetaEnv(actor="random", episodes_per_step=50) as env:
        _, info = env.reset(seed=0)
        trajectories, reward, *_ = env.step(info["default_prompt"])
        print(trajectories[0].steps[0].observation.text)
        print(f"A random walker crosses {reward:.0%} of {len(trajectories)} different lakes.")


if __name__ == "__main__":
    main()

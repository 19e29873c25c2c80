"""Your own text game: a plain `gymnasium.Env[str, str]`, from the first line to the meta-environment."""

from typing import Any

import gymnasium as gym

import metagym

ROOMS = ("cellar", "kitchen", "library", "attic")  # a row of rooms, from west to east
FAMILIES = {"lamp": "light the lamp in the", "bell": "ring the bell in the"}


class House(gym.Env[str, str]):
    """Do something in one room, with a tool from another room."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = metagym.TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)  # all chance comes from self.np_random: equal seeds give equal games
        self.family = (options or {}).get("task_id", "lamp/").partition("/")[0]
        self.room, self.tool_room, self.goal_room = (int(n) for n in self.np_random.integers(4, size=3))
        self.tool, self.has_tool = ("match" if self.family == "lamp" else "hammer"), False
        return self.look(), self.info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        answer = "That does not help."  # an unknown command is answered in words
        if action in ("west", "east"):
            self.room = max(0, self.room - 1) if action == "west" else min(3, self.room + 1)
            answer = f"You go {action}."
        elif action == "take" and self.room == self.tool_room and not self.has_tool:
            self.has_tool, answer = True, f"You take the {self.tool}."
        elif action == "use" and self.has_tool and self.room == self.goal_room:
            return "Done!", 1.0, True, False, self.info(success=True, outcome="did it")
        return f"{answer} {self.look()}", 0.0, False, False, self.info()

    def look(self) -> str:
        is_here = self.room == self.tool_room and not self.has_tool
        return f"You are in the {ROOMS[self.room]}." + (f" There is a {self.tool}." if is_here else "")

    def info(self, **more: Any) -> dict[str, Any]:
        goal = f"{FAMILIES[self.family]} {ROOMS[self.goal_room]}"
        return {"goal": goal, "available_actions": ("west", "east", "take", "use"), "success": False, **more}


class HouseMetaEnv(metagym.MetaEnv):
    default_prompt = "You are in a house. Do what is asked."

    def make_inner_env(self) -> House:
        return House()

    def make_task_set(self) -> metagym.TaskSet:
        # The place of the tool is content, too, but the first text does not show it: so the seed is the digest.
        digest = lambda env, task: str(task.seed)  # noqa: E731
        return metagym.TaskSet.from_seeds(House, 1000, families=list(FAMILIES), digest=digest)


def main() -> None:
    with HouseMetaEnv(actor="random", episodes_per_step=40) as env:
        env.reset(seed=0)
        trajectories, reward, *_ = env.step(env.default_prompt)
        print(trajectories[0].steps[0].observation)
        print(f"Playing at random succeeds in {reward:.0%} of {len(trajectories)} houses.")


if __name__ == "__main__":
    main()

"""ALFWorld without a download: an expert plays one game, then the scripted demo improves its prompt."""

import metagym
from metagym.envs.alfworld import ALFWorldTextEnv
from metagym.envs.alfworld.expert import expert_command
from metagym.envs.alfworld.meta import ALFWorldMetaEnv
from metagym.types import Action, Observation, Step


def main() -> None:
    # The inner environment is a plain Gymnasium environment of texts. Generated games need no download.
    # To play the official games, set ALFWORLD_DATA and leave `data` out.
    env = ALFWorldTextEnv(data="generated")
    text, info = env.reset(seed=1)
    print(text, "\n")
    steps: list[Step] = []
    while not info["success"]:
        # The expert sees the same as any actor: the text, the goal, and the admissible commands.
        seen = Observation(text=text, goal=info["goal"], available_actions=info["available_actions"])
        command = expert_command(steps, seen)
        assert command is not None
        text, reward, _, _, info = env.step(command)
        steps.append(Step(observation=seen, action=Action(text=command), command=command, is_valid=True, reward=reward))
        print(f"> {command}\n{text}")

    # The meta-environment's action is the prompt. The demo actor does only what its prompt says, and the demo
    # reflector finds out what is missing. Both are scripts: this shows the loop, not a language model.
    with ALFWorldMetaEnv("demo", data="generated") as meta:
        result = metagym.optimize(meta, meta.make_demo_reflector(), num_steps=10, seed=0)
    print("\nMean reward of each meta-step:", [round(reward, 2) for reward in result.rewards])
    print(f"The best prompt:\n{result.best_prompt}")


if __name__ == "__main__":
    main()

"""Two prompts in one environment: the action of a MetaEnv is a system prompt."""

import gymnasium as gym

import metagym  # noqa: F401 - registers the ids


def main() -> None:
    # "demo" is a scripted actor: no key, no model, and it reads its prompt.
    env = gym.make("MetaGym/Gates-v0", actor="demo", families=["law-0007"])
    _, info = env.reset(seed=0)  # plays nothing; names the first prompt
    prompt = info["default_prompt"]

    trajectories, reward, *_ = env.step(prompt)  # plays five roads under the prompt
    print(f"Under the first prompt: mean reward {reward:.2f}")

    # The trajectories hold what happened. Here is the end of the first one.
    first = trajectories[0]
    print(f"  {len(first.steps)} steps, ended by: {first.stop_reason} ({first.stop_detail})")
    print(f"  it ended with: {first.final_observation.text}")

    # A reader of the trajectories finds out how each gate opens, and writes it down for the next roads:
    better = prompt + "\n- when the gate is oak, push\n- when the gate is iron, push\n- when the gate is stone, knock"
    _, reward, *_ = env.step(better)  # five *other* roads: no task is played twice
    print(f"Under a better prompt:  mean reward {reward:.2f}")
    env.close()


if __name__ == "__main__":
    main()

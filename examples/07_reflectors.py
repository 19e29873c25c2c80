"""The known methods side by side: one protocol, the same tasks, offline."""

import gymnasium as gym

import metagym
from metagym.reflectors import method_names, takes_model


def main() -> None:
    # Each method is one short file in metagym/reflectors. Its model here is "demo": a script that answers
    # in the method's own format. With {"model": ..., "base_url": ...} instead, a real model answers.
    results = {}
    for name in method_names():
        spec = {"method": name, "model": "demo"} if takes_model(name) else {"method": name}
        with gym.make("MetaGym/Gates-v0", actor="demo", families=["law-0007"]) as env:
            result = results[name] = metagym.optimize(env, metagym.make_reflector(spec), 6, seed=0)
            rewards = " ".join(f"{reward:.1f}" for reward in result.rewards)
            # Everything that a method causes is booked, its own rollouts included. So budgets can be equal.
            assert isinstance(env.unwrapped, metagym.MetaEnv)
            ledger = env.unwrapped.ledger
            calls = ledger.spent(role="reflector").usage.num_calls
            print(f"{name:26} {rewards}   {ledger.num_episodes:3} episodes, {calls:2} calls")

    # The memory of a method is a JSON value in its last reflection, and a document in its prompt.
    name, result = list(results.items())[-1]
    last = result.last_reflection
    print(f"\nThe memory of {name}: {last.memory if last else None}")
    print(f"\nIts prompt:\n{result.last_prompt}")
    print("\nSCRIPTED: this shows the plumbing, and says nothing about language models.")


if __name__ == "__main__":
    main()

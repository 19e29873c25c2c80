"""A GRPO step of a real small model on the CPU: seconds of each part, and the peak of memory.

    python benchmarks/training_cpu.py MODEL [--steps 2]     # such as smollm2-135m: see metagym models

Four groups of four replies of 150 tokens on prompts of 700 tokens, LoRA of rank 8, float32, no KL term. The end token
is left out, so that each reply has its full length; the reward plays four roads of Gates under each reply.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

from metagym import MetaEnv, make
from metagym.training.grpo import GRPO, GRPOConfig, single_turns
from metagym.training.policy import Policy

NUM_PROMPT_TOKENS = 700
TEXT = "You knock. The oak gate stays shut. You push. The oak gate opens. "


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a GGUF file, a fetched model, a folder or a hub name")
    parser.add_argument("--steps", type=int, default=2)
    asked = parser.parse_args()
    config = GRPOConfig(group_size=4, groups_per_step=4, kl=0.0, max_new_tokens=150)
    policy = Policy.load(asked.model, lora_rank=8)
    policy.end_id = -1
    texts = [f"Road {number}. {TEXT * 100}" for number in range(config.groups_per_step)]
    policy.encode = lambda messages: policy.tokenizer(messages[0]["content"])["input_ids"][:NUM_PROMPT_TOKENS]  # type: ignore[method-assign]
    seconds: dict[str, float] = {}

    with make("MetaGym/Gates-v0", actor="demo", episodes_per_step=4, score="progress") as env:
        meta_env = env.unwrapped
        assert isinstance(meta_env, MetaEnv)
        env.reset(seed=0)
        tasks = [task.id for task in meta_env.task_set.draw(4, rng=meta_env.np_random)]

        def reward(start: int, replies: object) -> list[float]:
            began_at = time.perf_counter()
            played = meta_env.replay([reply.text for reply in replies], tasks)  # type: ignore[attr-defined]
            seconds["played"] = seconds.get("played", 0.0) + time.perf_counter() - began_at
            return [number + (meta_step.reward or 0.0) for number, meta_step in enumerate(played)]

        def told(doing: str, done: int, total: int) -> None:
            seconds[doing] = time.perf_counter() - started_at

        conversations = [[{"role": "user", "content": text}] for text in texts]
        algorithm = GRPO(policy, single_turns(conversations, reward), 4, config=config, seed=0, on_progress=told)
        for step in range(asked.steps):
            seconds.clear()
            started_at = time.perf_counter()
            algorithm.step(step)
            total = time.perf_counter() - started_at
            sampled = seconds["tokens sampled"]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(
                f"step {step}: {total:.1f} s; sampling {sampled:.1f}, play {seconds['played']:.2f}, "
                f"update {total - sampled - seconds['played']:.1f}; peak {peak:.1f} GiB; "
                f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads",
                flush=True,
            )


if __name__ == "__main__":
    main()

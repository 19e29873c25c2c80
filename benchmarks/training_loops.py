"""The plain GRPO loop and TRL's GRPOTrainer, side by side on the same start model, data and reward.

    OMP_NUM_THREADS=1 python benchmarks/training_loops.py OUT --seeds 3 --steps 80

For each seed: mean reward of the first and of the last ten steps, success on held-out laws (trained minus
untrained), CPU seconds per step. The two must agree within the spread over the seeds; their samples differ. It runs on
the CPU and needs the extra `train` and TRL. If OUT is the folder of a `metagym train demo`, its start models are used.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import transformers
import trl

from metagym.envs.gates.meta import GatesMetaEnv
from metagym.training.experience import Experience, read_lines
from metagym.training.policy import Policy
from metagym.training.reward import MetaReward
from metagym.training.trainer import TrainingConfig, train
from metagym.training.trl import grpo_arguments, make_dataset, make_reward_function
from metagym.training_demo.demonstration import DemoConfig, prepare
from metagym.training_demo.gates_problem import (
    TEST_LAWS,
    GradedGatesMetaEnv,
    compact_messages,
    measure_held_out,
    write_with,
)
from metagym.training_demo.tiny_reflector import EPISODES_PER_STEP

Train = Callable[[Path, list[Experience], MetaReward, Path, DemoConfig, int], tuple[list[float], Path]]


class Row(NamedTuple):
    first: float
    last: float
    gain: float
    step_s: float


def train_plain(
    start: Path, data: list[Experience], reward: MetaReward, out: Path, config: DemoConfig, seed: int
) -> tuple[list[float], Path]:
    training = TrainingConfig(num_steps=config.num_steps, seed=seed, save_every=config.num_steps)
    last = train(start, data, reward, out, grpo=config.grpo, config=training, render=compact_messages)
    return [line["reward"] for line in read_lines(out / "metrics.jsonl")], last


def train_trl(
    start: Path, data: list[Experience], reward: MetaReward, out: Path, config: DemoConfig, seed: int
) -> tuple[list[float], Path]:
    arguments = trl.GRPOConfig(
        output_dir=str(out), max_steps=config.num_steps, logging_steps=1, save_strategy="no", use_cpu=True,
        report_to="none", disable_tqdm=True, seed=seed, **grpo_arguments(config.grpo),
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=str(start), args=arguments, train_dataset=make_dataset(data, render=compact_messages),
        reward_funcs=[make_reward_function(reward, data)],
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)  # the table is ours
    trainer.train()
    trainer.save_model(str(out))
    return [entry["reward"] for entry in trainer.state.log_history if "reward" in entry], out


def run(name: str, trains: Train, folder: Path, seed: int, config: DemoConfig) -> Row:
    data = prepare(folder, seed, config)
    with GradedGatesMetaEnv("demo", episodes_per_step=EPISODES_PER_STEP) as env:
        began = time.process_time()
        rewards, last = trains(
            folder / "start", data, MetaReward(env, config.reward), folder / f"{name}-loop", config, seed
        )
        step_s = (time.process_time() - began) / config.num_steps
    with GatesMetaEnv("demo", episodes_per_step=EPISODES_PER_STEP, split="test") as env:
        found = [
            measure_held_out(
                env, write_with(Policy.load(path), seed=seed), TEST_LAWS[: config.num_laws], seed=seed
            ).final
            for path in (folder / "start", last)
        ]
    row = Row(statistics.mean(rewards[:10]), statistics.mean(rewards[-10:]), found[1] - found[0], step_s)
    rewarded = f"reward {row.first:.2f} -> {row.last:.2f}, held out {row.gain:+.2f}"
    print(f"seed {seed} {name:>5}: {rewarded}, {row.step_s:.2f} CPU s a step", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = DemoConfig(num_steps=asked.steps)
    loops: dict[str, Train] = {"plain": train_plain, "TRL": train_trl}
    rows = {
        name: [run(name, trains, asked.out / f"seed-{seed}", seed, config) for seed in range(asked.seeds)]
        for name, trains in loops.items()
    }
    for name, found in rows.items():
        ends = [f"{label} {statistics.mean(getattr(row, label) for row in found):.2f}" for label in Row._fields]
        print(f"{name:>5}, mean of {asked.seeds}: " + ", ".join(ends))
    differences = [plain.last - other.last for plain, other in zip(rows["plain"], rows["TRL"], strict=True)]
    print("reward of the last ten steps, plain minus TRL:", " ".join(f"{value:+.3f}" for value in differences))


if __name__ == "__main__":
    main()

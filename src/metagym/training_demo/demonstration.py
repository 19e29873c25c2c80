"""The demonstration: several training runs on the toy problem, with their controls and reports.

A training run is one replicate: it has its own model, tokenizer, supervised phase, experience and GRPO. The
endpoint is fixed here: success of the last prompt after four meta-steps, on laws that were not trained on;
trained minus untrained, with Student's t interval over the runs. A scripted actor plays everything: this shows that
the training learns, and says nothing about language models.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from metagym.envs.gates.env import GATES, WAYS
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import RunFolderError
from metagym.files import write_whole
from metagym.imports import require
from metagym.runs import read_record
from metagym.training.experience import EXPERIENCE, Experience, read_experience, read_lines, to_experience, write_jsonl
from metagym.training.grpo import GRPOConfig
from metagym.training.policy import Policy
from metagym.training.reward import MetaReward, RewardConfig
from metagym.training.trainer import TrainingConfig, train
from metagym.training_demo import gates_problem as toy
from metagym.training_demo.tiny_reflector import EPISODES_PER_STEP, make_real_start, make_start
from metagym.types import Completion, MetaStep, Record, Text, derive_seed, digest

torch = require("torch", extra="train")


OnLine = Callable[[str], Any]
"""Gets a line about the progress of a run."""


SETTINGS = "demo.json"
"""The settings of a run, in its folder."""


class DemoConfig(Record):
    """The size of the demonstration."""

    model: Text = ""
    """What the reflector starts from: a fetched model, a GGUF file, a folder or a hub name. Empty: a tiny model that is
    made on the spot."""
    lora_rank: int = 8
    """The rank of the adapter that is trained; of the tiny model all weights are trained."""
    num_steps: int = 80
    """GRPO steps of a run."""
    supervised_steps: int = 800
    num_loops: int = 128
    """Loops of four meta-steps on train laws with the untrained reflector: the experience."""
    num_laws: int = 96
    """Number of held-out laws for the measurement."""
    shuffled: bool = True
    """Whether to train each run a second time, with rewards that are shuffled inside the groups."""
    grpo: GRPOConfig = GRPOConfig(
        group_size=8, groups_per_step=8, learning_rate=1e-3, kl=0.02, max_new_tokens=toy.MAX_NEW_TOKENS
    )
    reward: RewardConfig = RewardConfig(format_penalty=0.3)


def with_real_model(model: str) -> DemoConfig:
    """Return a size that two cores play in an hour or two a run, for a model of about 135M parameters."""
    grpo = GRPOConfig(group_size=8, groups_per_step=4, learning_rate=2e-4, kl=0.0, max_new_tokens=toy.MAX_NEW_TOKENS)
    return DemoConfig(model=model, num_steps=40, supervised_steps=60, num_loops=48, num_laws=48, grpo=grpo)


class RunReport(Record):
    """The results of one training run."""

    seed: int
    rewards: tuple[float, ...]
    """Mean reward of each GRPO step."""
    untrained: toy.HeldOut
    trained: toy.HeldOut
    permuted: toy.HeldOut
    """The trained reflector with permuted outcomes."""
    shuffled: toy.HeldOut | None = None
    """The reflector that was trained on rewards shuffled inside the groups."""
    bayes: toy.HeldOut
    constant: toy.HeldOut
    """The constant prompt with the best score on train laws."""

    @property
    def gain(self) -> float:
        """Success of the last prompt, trained minus untrained."""
        return self.trained.final - self.untrained.final

    @property
    def gap_closed(self) -> float:
        """The closed share of the gap between the best constant prompt and the Bayes reflector."""
        return (self.trained.final - self.constant.final) / (self.bayes.final - self.constant.final)


class ShuffledReward(MetaReward):
    """The control: the rewards of a group in a random order, independent of the replies."""

    def __call__(self, meta_step: MetaStep, completions: Sequence[str | Completion]) -> list[float | None]:
        """Return the group's rewards, permuted."""
        rewards = super().__call__(meta_step, completions)
        texts = [item if isinstance(item, str) else item.text for item in completions]
        order = np.random.default_rng(derive_seed("shuffled", digest(texts))).permutation(len(rewards))
        return [rewards[int(place)] for place in order]


def prepare(folder: Path, seed: int, config: DemoConfig, *, on_progress: OnLine | None = None) -> list[Experience]:
    """Make the start model and its experience on train laws, unless the folder holds them; return the experience."""
    _check_config(folder / SETTINGS, config)
    report = _labelled(f"run {seed}", on_progress)
    with _environment(toy.GradedGatesMetaEnv) as env:
        if not (folder / EXPERIENCE).exists():
            start = _make_start(folder / "start", seed, config, report)
            report(f"{config.num_loops} loops of the untrained reflector, for the experience")
            laws = _some_train_laws("train laws", seed, config.num_loops)
            histories, _ = toy.play_loops(env, toy.write_with(start, seed=seed), laws, num_steps=4, seed=seed)
            write_jsonl(to_experience(histories, fingerprint=digest(env.fingerprint)), folder / EXPERIENCE)
    return read_experience(folder / EXPERIENCE)


def train_arm(
    folder: Path, seed: int, config: DemoConfig, *, shuffled: bool = False, on_progress: OnLine | None = None
) -> Path:
    """Train the start model on true or on shuffled rewards; return the last checkpoint."""
    experience = prepare(folder, seed, config, on_progress=on_progress)
    report = _labelled(f"run {seed}, {'shuffled' if shuffled else 'true'} rewards", on_progress)
    with _environment(toy.GradedGatesMetaEnv) as env:
        last = train(
            folder / "start",
            experience,
            (ShuffledReward if shuffled else MetaReward)(env, config.reward),
            folder / ("shuffled" if shuffled else "trained"),
            grpo=config.grpo,
            config=TrainingConfig(
                num_steps=config.num_steps,
                seed=seed,
                save_every=5 if config.model else 20,
                lora_rank=config.lora_rank if config.model else None,
            ),
            render=toy.compact_messages,
            on_progress=lambda progress: report(progress.text()),
        )
    return last


def run_once(folder: Path, seed: int, config: DemoConfig, *, on_progress: OnLine | None = None) -> RunReport:
    """Make a reflector, train it, measure it with its controls, write `report.json`; skip finished parts."""
    file = folder / "report.json"
    _check_config(folder / SETTINGS, config)
    if file.exists():
        return read_record(file, RunReport)

    def train_on(*, shuffled: bool) -> Policy:
        return Policy.load(train_arm(folder, seed, config, shuffled=shuffled, on_progress=on_progress))

    trained = train_on(shuffled=False)
    shuffled = train_on(shuffled=True) if config.shuffled else None
    start = Policy.load(folder / "start")
    report_line = _labelled(f"run {seed}", on_progress)
    with _environment(GatesMetaEnv, split="test") as env:

        def measured(write: toy.WritePrompts) -> toy.HeldOut:
            report_line(f"a reflector on {config.num_laws} held-out laws")
            return toy.measure_held_out(env, write, toy.TEST_LAWS[: config.num_laws], seed=seed)

        constant = best_constant(env, seed)
        report = RunReport(
            seed=seed,
            rewards=tuple(line["reward"] for line in read_lines(folder / "trained" / "metrics.jsonl")),
            untrained=measured(toy.write_with(start, seed=seed)),
            trained=measured(toy.write_with(trained, seed=seed)),
            permuted=measured(toy.write_with(trained, seed=seed, permuted=True)),
            shuffled=None if shuffled is None else measured(toy.write_with(shuffled, seed=seed)),
            bayes=measured(toy.write_bayes(seed=seed)),
            constant=measured(lambda histories: [constant] * len(histories)),
        )
    write_whole(file, report.model_dump_json(indent=2) + "\n")
    return report


def best_constant(env: GatesMetaEnv, seed: int) -> str:
    """Return the constant prompt with the highest mean score on 32 train laws, out of `sp_0` and 15 random ones."""
    rng = np.random.default_rng(derive_seed("constant prompts", seed))
    prompts = [env.default_prompt]
    prompts += [toy.prompt_of({gate: str(rng.choice(WAYS)) for gate in GATES}) for _ in range(15)]
    laws = _some_train_laws("constant laws", seed, 32)
    tasks = [task.id for law in laws for task in env.task_set.draw(2, rng=rng, families=[law])]
    scores = [meta_step.reward or 0.0 for meta_step in env.replay(prompts, tasks)]
    return prompts[int(np.argmax(scores))]


def run_demo(
    folder: str | Path,
    seeds: Sequence[int],
    config: DemoConfig,
    *,
    num_processes: int = 1,
    on_run: Callable[[RunReport], Any] | None = None,
    on_progress: OnLine | None = None,
) -> list[RunReport]:
    """Run one training run per seed, `num_processes` at a time; return the reports in the order of the seeds.

    `on_progress` gets lines about the progress. It is called in the processes of the runs, so it must be picklable.
    """
    # Spawn, since a forked child would inherit torch's threads in an undefined state. One thread each, since two
    # threads on two busy cores take ten times as long.
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(num_processes, spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ThreadPoolExecutor(len(seeds)) as waiting,
    ):

        def run(seed: int) -> RunReport:
            # The parts of a run are separate tasks: with five whole runs on two cores, the last leaves one idle.
            place = Path(folder) / f"seed-{seed}"
            if not (place / "report.json").exists():
                pool.submit(prepare, place, seed, config, on_progress=on_progress).result()
                arms = [
                    pool.submit(train_arm, place, seed, config, shuffled=shuffled, on_progress=on_progress)
                    for shuffled in {False, config.shuffled}
                ]
                for arm in arms:
                    arm.result()
            report = pool.submit(run_once, place, seed, config, on_progress=on_progress).result()
            if on_run is not None:
                on_run(report)
            return report

        try:
            return list(waiting.map(run, seeds))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or the other runs would continue to the end
            raise


def _check_config(file: Path, config: DemoConfig) -> None:
    """Raise RunFolderError if the folder holds a run with other settings; keep the settings of a new one."""
    if file.exists():
        kept = read_record(file, DemoConfig)
        if kept != config:
            names = [name for name in DemoConfig.model_fields if getattr(kept, name) != getattr(config, name)]
            raise RunFolderError(
                f"Expected the settings of the demonstration that is in {file.parent}, got another "
                f"{', '.join(names)}. Use the same settings, or name another folder (--out)."
            )
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, config.model_dump_json(indent=2) + "\n")


def _labelled(label: str, on_progress: OnLine | None) -> OnLine:
    return lambda line: None if on_progress is None else on_progress(f"{label}: {line}")


def _make_start(path: Path, seed: int, config: DemoConfig, report: OnLine) -> Policy:
    def on_step(step: int) -> None:
        report(f"supervised step {step + 1} of {config.supervised_steps}")

    if not config.model:
        return make_start(path, seed=seed, num_steps=config.supervised_steps, on_step=on_step)
    if (path / "config.json").exists():
        return Policy.load(path)
    sizes = {"num_steps": config.supervised_steps, "lora_rank": config.lora_rank}
    return make_real_start(config.model, path, seed=seed, **sizes, on_step=on_step)


def _environment(kind: type[GatesMetaEnv], **options: Any) -> GatesMetaEnv:
    return kind("demo", episodes_per_step=EPISODES_PER_STEP, **options)


def _some_train_laws(purpose: str, seed: int, count: int) -> list[str]:
    rng = np.random.default_rng(derive_seed(purpose, seed))
    return [toy.TRAIN_LAWS[int(place)] for place in rng.permutation(len(toy.TRAIN_LAWS))[:count]]

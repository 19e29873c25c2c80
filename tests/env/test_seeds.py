"""Determinism and chance: equal seeds give equal play, and arms never share model noise."""

from __future__ import annotations

import pytest

from metagym import MetaEnv
from tests.conftest import MakeGates, run_python
from tests.env.playing import ids_of, played

pytestmark = pytest.mark.timeout(60)


def test_equal_seeds_give_equal_tasks_and_byte_equal_trajectories_in_two_processes() -> None:
    """Different hash seeds, concurrency 1 and 32, environments re-used and fresh."""
    code = """if True:
        import sys
        from metagym.envs.gates import demo, meta
        from metagym.workers import LocalWorkers

        class Fresh(LocalWorkers):
            def lease(self):
                self.close()
                return super().lease()

        env = meta.GatesMetaEnv(demo.GatesDemoActor(slip=0.3), max_concurrency=int(sys.argv[1]), schedule="fresh")
        if sys.argv[2] == "fresh":
            env.player.engine.workers = Fresh(env.make_inner_env)
        env.reset(seed=11)
        for prompt in ("p", "when the gate is oak, knock"):
            for trajectory in env.step(prompt)[0]:
                print(trajectory.model_dump_json())
        for meta_step in env.replay(["p", "q"], ["law-0001/1", "law-0002/2"], repetitions=2):
            print(meta_step.model_dump_json())
        """
    runs = [
        run_python(code, *arguments, env={"PYTHONHASHSEED": hash_seed}).stdout
        for arguments, hash_seed in [(("1", "pooled"), "0"), (("32", "fresh"), "1"), (("32", "pooled"), "2")]
    ]
    assert len(set(runs)) == 1
    assert runs[0].count("\n") == 12


def test_other_seeds_give_other_tasks(make_gates: MakeGates) -> None:
    assert len({tuple(ids_of(played(make_gates(), 1, seed=seed))) for seed in range(10)}) == 10


def test_a_second_reset_without_a_seed_goes_on_drawing(make_gates: MakeGates) -> None:
    env = make_gates()
    env.reset(seed=0)
    first = env.step("p")[4]["task_ids"]
    env.reset()
    assert env.step("p")[4]["task_ids"] != first


def seeds_of(env: MetaEnv, *, seed: int = 0, prompt: str = "p") -> list[int]:
    return [item.episode.seed for step in played(env, 2, seed=seed, prompt=prompt) for item in step[0]]


def test_model_noise_does_not_depend_on_the_prompt(make_gates: MakeGates) -> None:
    assert seeds_of(make_gates(), prompt="p") == seeds_of(make_gates(), prompt="q")


def test_two_arms_play_the_same_tasks_and_never_share_model_noise(make_gates: MakeGates) -> None:
    one, two = make_gates(arm="a"), make_gates(arm="b")
    first, second = played(one, 2), played(two, 2)
    assert ids_of(first) == ids_of(second)
    tasks = [[item.task.seed for step in steps for item in step[0]] for steps in (first, second)]
    assert tasks[0] == tasks[1]
    assert not set(seeds_of(one)) & set(seeds_of(two))


def test_model_noise_depends_on_the_repetition_and_the_run(make_gates: MakeGates) -> None:
    env = make_gates(schedule="same")
    seeds = seeds_of(env)
    assert len(set(seeds)) == 10
    assert not set(seeds) & set(seeds_of(env, seed=1))


def test_the_prompts_of_a_replay_do_not_share_model_noise(make_gates: MakeGates) -> None:
    group = make_gates().replay(["p", "p"], ["law-0001/1"], repetitions=3)
    seeds = [item.episode.seed for meta_step in group for item in meta_step.trajectories]
    assert len(set(seeds)) == 6


def test_the_order_of_arrival_does_not_change_model_noise(make_gates: MakeGates) -> None:
    forth = make_gates().replay(["p"], ["law-0001/1", "law-0001/2"])[0]
    back = make_gates().replay(["p"], ["law-0001/2", "law-0001/1"])[0]
    assert [t.episode.seed for t in forth.trajectories] == [t.episode.seed for t in back.trajectories][::-1]

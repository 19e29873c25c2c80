"""The process for blocking environments, and the stock engine in it, side by side with the native one."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.game import GameFileError, parse_game
from metagym.envs.alfworld.generated import export
from metagym.envs.alfworld.generated.games import task_id
from metagym.envs.alfworld.meta import ALFWorldMetaEnv
from metagym.envs.alfworld.textworld_engine import EnvironmentProcess, EnvironmentProcessError, SpawnedTextWorldEngine
from metagym.errors import InfrastructureError
from tests.conftest import run_python
from tools import alfworld_parity


class Counter:
    """A blocking environment of the tests: it lives in the worker."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, number: int) -> int:
        self._count += number
        return self._count

    def process(self) -> int:
        return os.getpid()

    def fail(self) -> None:
        raise KeyError("no such thing")

    def die(self) -> None:
        os._exit(3)

    def hang(self) -> None:
        time.sleep(60)


@pytest.fixture(scope="module")
def worker() -> Iterator[EnvironmentProcess]:
    made = EnvironmentProcess("tests.envs.alfworld.test_textworld_engine:Counter", timeout_s=20.0)
    yield made
    made.close()


@pytest.mark.slow
def test_one_process_hosts_many_environments(worker: EnvironmentProcess) -> None:
    first, second = worker.new_env(), worker.new_env()
    assert [worker.call(env, "add", 2) for env in (first, second, first)] == [2, 2, 4]
    assert worker.call(first, "process") == worker.call(second, "process") != os.getpid()


def test_threads_queue_up_for_the_process(worker: EnvironmentProcess) -> None:
    env = worker.new_env()
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: worker.call(env, "add", 1), range(100)))
    assert sorted(counts) == list(range(1, 101))


def test_an_exception_is_reported_and_only_its_environment_is_lost(worker: EnvironmentProcess) -> None:
    broken, whole = worker.new_env(), worker.new_env()
    worker.call(whole, "add", 5)
    with pytest.raises(InfrastructureError, match=r"Counter raised in fail: (?s:.*)KeyError: 'no such thing'"):
        worker.call(broken, "fail")
    assert worker.call(whole, "add", 1) == 6
    assert worker.call(broken, "add", 1) == 1


def test_a_dead_process_is_replaced(worker: EnvironmentProcess) -> None:
    env = worker.new_env()
    before = worker.call(env, "process")
    with pytest.raises(EnvironmentProcessError, match=r"was lost in die: EOFError.* next call starts a new process"):
        worker.call(env, "die")
    assert worker.call(env, "process") != before


def test_the_answer_of_an_interrupted_call_answers_no_later_one(worker: EnvironmentProcess) -> None:
    class Interrupted:
        def __init__(self, pipe: Any) -> None:
            self._pipe, self.send, self.recv, self.close = pipe, pipe.send, pipe.recv, pipe.close

        def poll(self, timeout_s: float) -> bool:
            self.poll = self._pipe.poll  # type: ignore[method-assign]
            raise KeyboardInterrupt

    env = worker.new_env()
    assert worker.call(env, "add", 1) == 1
    worker._pipe = Interrupted(worker._pipe)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        worker.call(env, "add", 1)
    assert worker.call(worker.new_env(), "add", 5) == 5


@pytest.mark.slow
def test_a_hung_process_is_killed_and_replaced() -> None:
    worker = EnvironmentProcess("tests.envs.alfworld.test_textworld_engine:Counter", timeout_s=20.0)
    worker.call(0, "add", 1)
    worker._timeout_s = 0.2
    with pytest.raises(EnvironmentProcessError, match=r"was lost in hang: TimeoutError: no answer within 0.2 s"):
        worker.call(0, "hang")
    worker._timeout_s = 20.0
    assert worker.call(0, "add", 1) == 1
    worker.close()
    worker.close()


# TextWorld --------------------------------------------------------------------------------------------


@pytest.mark.alfworld
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_engines_agree_on_official_games(official: GameCatalogue, stock: None) -> None:
    names = alfworld_parity.pick_games(official.listing().playable, 2, random.Random(1))
    found = list(alfworld_parity.compare_all(official, names, num_steps=20, seed=1))
    assert [item.difference for item in found] == [None, None]
    assert sum(item.num_steps for item in found) == 40


@pytest.mark.alfworld
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_engines_agree_on_generated_games_and_on_the_old_wording(generated: GameCatalogue, stock: None) -> None:
    engine = SpawnedTextWorldEngine()
    name = task_id("pick_clean_then_place_in_recep", 2)
    for data in (generated.data(name), as_before_0_4(generated.data(name))):
        found = alfworld_parity.compare(name, data, engine, num_steps=25, rng=random.Random(2))
        assert found.difference is None
        assert found.won_by_walkthrough
    engine.close()


def as_before_0_4(data: dict[str, object]) -> dict[str, object]:
    """Return a game in the wording of ALFWorld before 0.4: `put X in/on Y`, `You arrive at loc 3`, no help."""
    grammar = str(data["grammar"]).split("action help {")[0]
    for new, old in (
        ("You arrive at {r.name}.", "You arrive at {lend.name}."),
        ("move {o} to {r}", "put {o} in/on {r}"),
        ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
    ):
        assert new in grammar
        grammar = grammar.replace(new, old)
    domain = str(data["pddl_domain"]).split("(:action help")[0] + ")"
    commands = [item.replace("move ", "put ") for item in data["walkthrough"]]  # type: ignore[attr-defined]
    commands = [item.replace(" to ", " in/on ") if item.startswith("put ") else item for item in commands]
    return {**data, "pddl_domain": domain, "grammar": grammar, "walkthrough": commands}


@pytest.mark.alfworld
def test_the_old_wording_is_recognised(generated: GameCatalogue, stock: None) -> None:
    data = generated.data(task_id(FAMILIES[0], 0))
    assert parse_game(data).wording.spelling == "move"
    old = parse_game(as_before_0_4(data)).wording
    assert (old.spelling, old.arrive, old.help_text) == ("put", "You arrive at {lend}.", None)


@pytest.mark.alfworld
@pytest.mark.parametrize(
    ("field", "before", "after", "message"),
    [
        ("grammar", "You open the {r.name}.", "You pull the {r.name} open.", "its grammar is not that of ALFWorld"),
        ("grammar", '"task"', '"chore"', "the grammar has no rule 'task'"),
        ("pddl_domain", "(not (isCool ?o))", "", "its rules are not those of ALFWorld's games"),
        ("pddl_problem", "(:goal", "(:gaol", "has no section :goal"),
        ("pddl_problem", "(:init", "(:init)\n((", "parentheses are still open"),
    ],
)
def test_a_game_with_other_rules_or_texts_is_refused(
    field: str, before: str, after: str, message: str, generated: GameCatalogue, stock: None
) -> None:
    data = generated.data(task_id(FAMILIES[0], 0))
    assert before in data[field]
    with pytest.raises(GameFileError, match=f"The game mine cannot be played natively: .*{message}"):
        parse_game({**data, field: data[field].replace(before, after)}, name="mine")


@pytest.mark.slow
@pytest.mark.alfworld
@pytest.mark.timeout(300)
def test_the_meta_environment_plays_the_same_in_both_engines(stock: None) -> None:
    played = []
    for engine in ("native", "textworld"):
        with ALFWorldMetaEnv("demo", data="generated", engine=engine, max_steps=6) as env:  # type: ignore[arg-type]
            # TextWorld blocks, so it lives in a worker process, off the event loop.
            assert env.config.workers == ("local" if engine == "native" else 1)
            env.reset(seed=0)
            (meta_step,) = env.replay(["Do it."], [task_id(FAMILIES[0], 0), task_id(FAMILIES[3], 0)])
            # TextWorld knows of no progress.
            played.append([item.model_copy(update={"progress": None}) for item in meta_step.trajectories])
    assert played[0] == played[1]


@pytest.mark.alfworld
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_stock_alfworld_loads_written_games(stock: None, tmp_path: Path) -> None:
    export.write_games(tmp_path, families=["look_at_obj_in_light"], num_games=1)
    done = run_python(STOCK_SCRIPT, str(tmp_path), env={"ALFWORLD_DATA": str(tmp_path)})
    assert done.stdout.splitlines()[-1] == "['look_at_obj_in_light'] True", done.stderr


STOCK_SCRIPT = """
import json, sys
from pathlib import Path
from alfworld.agents.environment import get_environment
path = f"{sys.argv[1]}/json_2.1.1/train"
config = {
    "dataset": {"data_path": path, "num_train_games": -1},
    "env": {"goal_desc_human_anns_prob": 0, "task_types": [1, 2, 3, 4, 5, 6], "domain_randomization": False,
            "expert_type": "handcoded"},
    "general": {"training_method": "dqn"},
    "rl": {"training": {"max_nb_steps_per_episode": 50}},
}
stock = get_environment("AlfredTWEnv")(config, train_eval="train")
env = stock.init_env(batch_size=1)
env.reset()
walkthrough = json.loads(Path(stock.game_files[0]).read_bytes())["walkthrough"]
for command in walkthrough:
    _, _, done, info = env.step([command])
print([Path(name).parts[-3].split("-")[0] for name in stock.game_files], bool(info["won"][0]))
"""

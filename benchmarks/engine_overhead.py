"""What the engine costs beside a bare asyncio loop and peers: an echo environment, a model that answers at once.

64 episodes in flight, 20 steps each, observations of 2,000 characters, 10 actions, full history, full
records. The bare loop builds the same messages and the same frozen records, and nothing else. The peers
(`gem-llm`, plain and with its concat wrapper; `textarena`, with its observation wrapper) step the same texts in a
bare loop of their own, and keep no record at all. Interleaved runs, CPU time. `--peers FOLDER` holds a virtual
environment for each peer, or gets one; without it they are left out.

    python benchmarks/engine_overhead.py [--quick] [--runs 5] [--peers FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from echo import ACTIONS, NUM_STEPS, REPLY, TEXT, Echo, InstantModel, episodes
from measuring import Row, cpu_s, interleaved, median_ratio, note, run

from metagym.actor import REPLY_FORMATS, ChatActor
from metagym.models import Call
from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.types import Action, Episode, Message, Observation, Step, StopReason, Trajectory
from metagym.workers import LocalWorkers

IN_FLIGHT = 64
PEERS = {
    "gem-llm": ("gem-llm", "gem_echo.py", ""),
    "gem-llm, concat": ("gem-llm", "gem_echo.py", "concat"),
    "textarena": ("textarena", "textarena_echo.py", ""),
}
"""What is asked of which package, by which script in `peers/`, with which wrapper."""


async def bare_episode(episode: Episode, env: Echo, model: InstantModel) -> Trajectory:
    text, info = env.reset(seed=episode.task.seed)
    form = REPLY_FORMATS["react"].instruction(info["available_actions"])
    messages: list[Message] = [{"role": "system", "content": f"{episode.prompt}\n\n{form}"}]
    steps = []
    head, listed, done = f"Goal: {info['goal']}\n\n", ", ".join(info["available_actions"]), False
    observation = Observation(text=text, goal=info["goal"], available_actions=info["available_actions"])
    while not done:
        turn = f"{head}{observation.text}\n\nAvailable actions: {listed}"
        messages.append({"role": "user", "content": turn})
        completion = await model.complete(messages, Call("actor"))
        messages.append({"role": "assistant", "content": completion.text})
        thought, _, command = completion.text.partition("\nAction: ")
        action = Action(text=command, thought=thought, completion=completion)
        text, reward, done, _, info = env.step(command)
        steps.append(Step(observation=observation, action=action, command=command, is_valid=True, reward=reward))
        listed = (
            "as before."
            if info["available_actions"] == observation.available_actions
            else ", ".join(info["available_actions"])
        )
        observation = Observation(text=text, goal=info["goal"], available_actions=info["available_actions"])
        head = ""
    return Trajectory(
        episode=episode,
        steps=tuple(steps),
        final_observation=observation,
        stop_reason=StopReason.TERMINATED,
        success=True,
        score=1.0,
    )


async def play_bare(batch: Sequence[Episode]) -> Sequence[Trajectory]:
    model = InstantModel()
    return await asyncio.gather(*(bare_episode(episode, Echo(), model) for episode in batch))


def us_per_step(play: Callable[[], Sequence[Trajectory]]) -> float:
    start = cpu_s()
    played = play()
    took_s = cpu_s() - start
    assert all(len(item.steps) == NUM_STEPS for item in played)
    return took_s / (NUM_STEPS * len(played)) * 1e6


def peer_python(folder: Path, package: str) -> Path:
    """Return the Python of the peer's virtual environment, which is made where there is none."""
    python = folder / package / "bin" / "python"
    if not python.exists():
        note(f"installing {package} into {folder / package}")
        subprocess.run([sys.executable, "-m", "venv", str(folder / package)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", package], check=True, capture_output=True)
    return python


def peer_contenders(folder: str) -> dict[str, Callable[[], float]]:
    contenders: dict[str, Callable[[], float]] = {}
    for name, (package, script, wrapper) in PEERS.items() if folder else ():
        try:
            python = peer_python(Path(folder).resolve(), package)
        except (OSError, subprocess.SubprocessError) as error:
            note(f"{name} is left out: {package} cannot be installed ({type(error).__name__}; offline?)")
            continue
        arguments = [TEXT, ",".join(ACTIONS), REPLY.text.rpartition(": ")[2], str(NUM_STEPS), str(IN_FLIGHT), wrapper]
        command = [str(python), str(Path(__file__).parent / "peers" / script), *arguments]

        def ask(command: list[str] = command) -> float:
            return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])

        contenders[name] = ask
    return contenders


def measure(arguments: argparse.Namespace) -> list[Row]:
    batch = episodes(IN_FLIGHT)
    engine = RolloutEngine(ChatActor(InstantModel()), LocalWorkers(Echo), config=RolloutConfig(max_steps=NUM_STEPS))
    contenders: dict[str, Callable[[], float]] = {
        "engine": lambda: us_per_step(lambda: asyncio.run(engine.run(batch))),
        "bare": lambda: us_per_step(lambda: asyncio.run(play_bare(batch))),
        **peer_contenders(arguments.peers),
    }
    interleaved({name: contenders[name] for name in ("engine", "bare")}, 1)  # the peers warm themselves
    found = interleaved(contenders, 3 if arguments.quick else arguments.runs)
    cost = {name: statistics.median(values) for name, values in found.items()}
    rows = [
        Row("engine, CPU a step", cost["engine"], "us", "<= 40", f"{IN_FLIGHT} episodes of {NUM_STEPS} steps"),
        Row("bare asyncio loop, CPU a step", cost["bare"], "us", note="the same messages and records"),
        Row("engine / bare asyncio loop", median_ratio(found, "engine", "bare"), "", "<= 2"),
    ]
    for name in list(cost)[2:]:
        rows.append(Row(f"{name}, CPU a step", cost[name], "us", note="no record kept"))
        rows.append(Row(f"{name} / engine", median_ratio(found, name, "engine")))
    return rows


if __name__ == "__main__":
    run(measure, __doc__, runs=5, peers="")

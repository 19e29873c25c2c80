"""Random episodes on every family: no exception, no hang, no open question without an answer.

    python benchmarks/minihack_scan.py [NUM_EPISODES]

Each screen is searched for signs that NetHack waits for something (a `--More--`, the end of a menu, a
list of choices without an answer) while only commands are available.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter

from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.families import FAMILIES

_WAITS = re.compile(r"--More--|\((end|\d+ of \d+)\)\s*$", re.MULTILINE)


def play(env: MiniHackTextEnv, task_id: str, kinds: Counter[str], unanswerable: Counter[str]) -> str:
    choose = random.Random(task_id)
    _, info = env.reset(options={"task_id": task_id})
    for _ in range(500):
        available = info["available_actions"]
        is_command = "step n" in available
        kinds["command" if is_command else available[0].split()[0]] += 1
        waiting = _WAITS.search("\n".join(env.screen.terminal))
        if not available or (is_command and (waiting or env.screen.asks_question or env.screen.asks_text)):
            unanswerable[env.screen.top_line.strip()] += 1
        text, _, terminated, truncated, info = env.step(choose.choice(available))
        if text.startswith("Unknown command"):
            unanswerable[text.split("\n")[0]] += 1
        if terminated or truncated:
            return str(info["outcome"])
    return "still going after 500 steps"


def main(num_episodes: int = 20) -> int:
    num_bad = 0
    for auto_answer in (False, True):
        pool = GamePool(max_idle=2)
        env = MiniHackTextEnv(pool=pool, auto_answer=auto_answer)
        kinds: Counter[str] = Counter()
        unanswerable: Counter[str] = Counter()
        ends: Counter[str] = Counter()
        for family in FAMILIES:
            for seed in range(num_episodes):
                ends[play(env, f"{family}/{seed}", kinds, unanswerable).split(":")[0]] += 1
        pool.close()
        print(f"{len(FAMILIES)} families x {num_episodes} episodes, auto_answer={auto_answer}")
        print(f"  what was on offer: {dict(kinds.most_common())}")
        print(f"  ends: {dict(ends.most_common(12))}")
        print(
            f"  screens that wait for something and offer no answer: {unanswerable.total()} "
            f"{dict(unanswerable.most_common(10)) or ''}",
            flush=True,
        )
        num_bad += unanswerable.total()
    return int(num_bad > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

"""Two methods with equal budgets: a method that plays its own groups of episodes pays for them from its budget."""

import tempfile

from metagym.evaluation.arena import run_arena
from metagym.evaluation.preset import load_preset


def main() -> None:
    # In each meta-episode a method may play 40 episodes to learn. The arm `fixed` (no reflection) is added.
    preset = load_preset("arena-small").model_copy(update={"num_seeds": 3, "controls": ()})
    methods = ["ict", "training_free_grpo_style"]
    with tempfile.TemporaryDirectory() as folder:
        demo = {"model": "demo"}  # {"model": ..., "base_url": ...}: your own model
        (bout,) = run_arena(preset, methods, actor="demo", model=demo, path=folder)
    for row in bout.standings.rows:
        used = row.outlay
        print(f"{row.arm:26} {row.meta_steps:.1f} meta-steps, {used.episodes} episodes, {used.calls} calls")
    print(bout.standings.notes[0])


if __name__ == "__main__":
    main()

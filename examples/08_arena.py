"""Two methods under one budget: who plays groups of its own pays for them from the same account."""

import tempfile

from metagym.evaluation.arena import run_arena
from metagym.evaluation.preset import load_preset


def main() -> None:
    # Every meta-episode may play 40 episodes to learn, whatever a method does with them; `fixed` is played beside.
    preset = load_preset("arena-small").model_copy(update={"num_seeds": 3, "controls": ()})
    methods = ["ict", "training_free_grpo_style"]
    with tempfile.TemporaryDirectory() as folder:
        demo = {"model": "demo"}  # {"model": ..., "base_url": ...}: a model of yours
        (bout,) = run_arena(preset, methods, actor="demo", model=demo, path=folder)
    for row in bout.standings.rows:
        taken = row.outlay
        print(f"{row.arm:26} {row.meta_steps:.1f} meta-steps, {taken.episodes} episodes, {taken.calls} calls")
    print(bout.standings.notes[0])


if __name__ == "__main__":
    main()

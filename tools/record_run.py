"""Record the run in the package: let a model play and reflect, and keep its replies; see metagym.runs.recording.

    python tools/record_run.py --actor local:FILE.gguf --about TEXT --out RUN

RUN is a new run folder. The package's files are replaced at the end. If what is sent to a model changes, a test
says that this must be run again.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

from metagym.cli.model_options import replayed
from metagym.models import Cassette
from metagym.runs import Manifest, RunFolder
from metagym.runs.recording import FOLDER, RECORDING, REPLIES, Recording, digest_of
from metagym.runs.running import run_experiment

ACTOR = {"reply_format": "act", "sampling": {"max_tokens": 40, "temperature": 0.7}}
REFLECTOR = {"method": "ict", "sampling": {"max_tokens": 400, "temperature": 0.7}}


def main() -> None:
    """Play the run, and pack it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--actor", default="local", help="local, local:NAME or local:FILE")
    parser.add_argument("--about", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--method", default="ict")
    options = parser.parse_args()
    manifest = Manifest(
        env_id="MetaGym/Gates-v0",
        env_options={
            "actor": {"model": options.actor, **ACTOR},
            "score": "progress",
            "episodes_per_step": 8,
            "max_steps": 12,
            "allow_bad_batches": True,
        },
        reflector={**REFLECTOR, "method": options.method, "model": options.actor},
        seed=options.seed,
        num_steps=options.steps,
    )
    run_experiment(manifest, options.out, on_meta_step=lambda meta_step: print(meta_step.index, meta_step.reward))
    pack(options.out, manifest, options.about)


def pack(run: Path, manifest: Manifest, about: str) -> None:
    """Put the recording of a run folder into the package."""
    replies = run / "replies.sqlite"
    history = RunFolder.open(run).history
    actor = replayed(manifest.env_options["actor"], "actor", str(replies))
    reflector = replayed(manifest.reflector, "reflector", str(replies))
    name = f"local:{actor['recorded']['model']}"  # no path of this machine
    update = {
        "env_options": {**manifest.env_options, "actor": {**actor, "model": name}},
        "reflector": {**reflector, "model": name},
    }
    recording = Recording(about=about, manifest=manifest.model_copy(update=update), digest=digest_of(history))
    FOLDER.mkdir(exist_ok=True)
    RECORDING.write_text(recording.model_dump_json(indent=2, exclude_defaults=True) + "\n", encoding="utf-8")
    Cassette(replies).close()
    REPLIES.write_bytes(gzip.compress(replies.read_bytes(), mtime=0))
    print(f"{REPLIES}: {REPLIES.stat().st_size:,} bytes, {len(history)} meta-steps")


if __name__ == "__main__":
    main()

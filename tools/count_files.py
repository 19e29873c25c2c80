"""Count the files of src that one prompt passes: from `step(prompt)` to the request, and from the reply to the reward.

Run it in a checkout: python tools/count_files.py. It needs no extra and no key.

A trace of function calls over one meta-step of one episode of Gates with one model call, against the test server.
A file counts if one of its functions is called. The first meta-step, which makes connections, is not traced.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import gymnasium

import metagym
from metagym.testing import FakeOpenAIServer, ServerReply

SRC = Path(metagym.__file__).parent


class Trace:
    """Notes the files of metagym whose functions are called, before and after the request leaves."""

    def __init__(self) -> None:
        self.is_on = self.is_sent = False
        self.files: dict[bool, dict[str, set[str]]] = {False: {}, True: {}}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take one event of the interpreter."""
        if event != "call" or not self.is_on:
            return
        code = frame.f_code
        path = Path(code.co_filename)
        if path.is_relative_to(SRC):
            name = str(path.relative_to(SRC))
            if not name.startswith("testing"):  # the server's side of the request
                self.files[self.is_sent].setdefault(name, set()).add(code.co_qualname)
        elif code.co_name == "post" and "openai" in path.parts:
            self.is_sent = True


def main() -> None:
    """Print both roads."""
    trace = Trace()
    threading.setprofile(trace)
    sys.setprofile(trace)
    with FakeOpenAIServer(lambda request: ServerReply("Thought: I try.\nAction: push")) as server:
        actor = {"model": "any", "base_url": server.base_url}
        with gymnasium.make("MetaGym/Gates-v0", actor=actor, episodes_per_step=1, max_steps=1) as env:
            env.reset(seed=0)
            env.unwrapped.step("The first step makes the connections.")
            trace.is_on = True
            env.unwrapped.step("This one is traced.")
            trace.is_on = False
    sys.setprofile(None)
    threading.setprofile(None)
    for is_sent, road in ((False, "from step(prompt) to the request"), (True, "from the reply to the reward")):
        files = trace.files[is_sent]
        print(f"{road}: {len(files)} files")
        for name, functions in files.items():
            print(f"  {name:24} {', '.join(sorted(functions))[:90]}")


if __name__ == "__main__":
    main()

"""An environment behind HTTP: the game runs in a server, and the inner environment is a client of it."""

import json
import threading
import urllib.request
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import gymnasium as gym

import metagym

MOVES = {"east": (1, 0), "west": (-1, 0), "north": (0, 1), "south": (0, -1)}


class GameServer(BaseHTTPRequestHandler):
    """Walk to a well. Each request contains all moves so far, so the server keeps no state."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        moves = [MOVES.get(move, (0, 0)) for move in asked["moves"]]
        east = asked["seed"] % 31 - 15 - sum(move[0] for move in moves)
        north = asked["seed"] // 31 % 31 - 15 - sum(move[1] for move in moves)
        text = f"The well is {east} steps to the east and {north} to the north."
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"text": text, "done": abs(east) + abs(north) < 2}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


class RemoteWalk(gym.Env[str, str]):
    """The client. If the server fails, it raises: that is an infrastructure error, and the episode is retried."""

    def __init__(self, url: str) -> None:
        self.observation_space = self.action_space = metagym.TextSpace()
        self.url = url

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.game: dict[str, Any] = {"seed": int(self.np_random.integers(961)) if seed is None else seed, "moves": []}
        return self.ask()["text"], {"available_actions": tuple(MOVES), "success": False}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.game["moves"].append(action)
        text, done = self.ask().values()
        return text, float(done), done, False, {"available_actions": tuple(MOVES), "success": done}

    def ask(self) -> Any:
        with urllib.request.urlopen(self.url, json.dumps(self.game).encode(), timeout=10) as reply:
            return json.load(reply)


class RemoteMetaEnv(metagym.MetaEnv):
    def __init__(self, actor: Any = None, *, url: str, **options: Any) -> None:
        self.url = url
        super().__init__(actor, **options)

    def make_inner_env(self) -> RemoteWalk:
        return RemoteWalk(self.url)

    def inner_env_factory(self) -> partial[RemoteWalk]:
        return partial(RemoteWalk, self.url)  # it is sent to worker processes, so it must be picklable

    def make_task_set(self) -> metagym.TaskSet:
        return metagym.TaskSet.from_seeds(self.make_inner_env, 961)


def main() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), GameServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        # A request blocks, so the clients run in two worker processes and wait side by side.
        with RemoteMetaEnv("random", url=url, workers=2, episodes_per_step=20) as env:
            env.reset(seed=0)
            trajectories, reward, *_ = env.step(env.default_prompt)
            print(trajectories[0].steps[0].observation.text)
            print(f"Walking at random reaches {reward:.0%} of {len(trajectories)} wells.")
        server.shutdown()


if __name__ == "__main__":
    main()

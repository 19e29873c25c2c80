"""Serves a GGUF file with llama.cpp (the package xllamacpp), on loopback, until it is ended. No part of metagym.

    python -P llama_cpp_engine.py FILE --port N [--alias NAME] [--ctx-size N] [--parallel N] [--threads N]

It is a script that runs in its own process: the engine holds threads and handles signals.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading

MAX_PROMPT_CACHE_MIB, LOG_WARNINGS, FEW_CORES = 8192, 2, 4


def main() -> None:
    """Load the model, answer until SIGTERM, and end at once."""
    parser = argparse.ArgumentParser(prog="llama.cpp")
    parser.add_argument("file", help="the GGUF file")
    parser.add_argument("--host", default="127.0.0.1", choices=["127.0.0.1"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alias", help="the model's name in replies")
    parser.add_argument("--ctx-size", type=int, default=8192, help="tokens of context, shared evenly by the slots")
    parser.add_argument("--parallel", type=int, default=1, help="slots: requests that are answered at once")
    parser.add_argument("--threads", type=int, help="by default one for each core; see default_threads")
    parser.add_argument("--cache-ram", type=int, help="MiB for the prompts of conversations that have no slot")
    options = parser.parse_args()

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.file
    params.port, params.hostnames = options.port, [options.host]
    params.n_ctx, params.n_parallel = options.ctx_size, options.parallel
    params.cache_ram_mib = prompt_cache_mib() if options.cache_ram is None else options.cache_ram
    if options.alias:
        params.model_alias = {options.alias}
    num_threads = options.threads or default_threads()
    if num_threads is not None:
        params.cpuparams.n_threads = num_threads
    params.verbosity = LOG_WARNINGS  # a line for each request would make the log long
    params.ui = False
    params.cors_origins = ""  # no page in a browser may ask
    server = xllamacpp.Server(params)
    print(f"{options.file} is served at {server.listening_address} by xllamacpp {xllamacpp.__version__}", flush=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the engine's own handler waits for the calls in flight
    threading.Event().wait()


def default_threads() -> int | None:
    """Return one thread less than there are cores, if they are few; None for the engine's default.

    The threads wait for each other after each layer, busily. If one of them has no core for itself, because an
    environment or another program works too, all of them wait: two threads on two busy cores are four times slower
    than one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1) if cores <= FEW_CORES else None


def prompt_cache_mib() -> int:
    """Return a quarter of the machine's memory, in MiB, at most llama.cpp's default."""
    try:
        num_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return MAX_PROMPT_CACHE_MIB // 4
    return min(MAX_PROMPT_CACHE_MIB, num_bytes // (4 << 20))


if __name__ == "__main__":
    main()

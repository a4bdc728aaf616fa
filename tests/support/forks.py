"""Runs Python programs as forks of one process with TensorFlow loaded, so that tests pay for its import once.

    forks.py SOCKET                                 server: forks for every request, until its stdin ends
    forks.py SOCKET -m MODULE | -c CODE | FILE ...  client: requests a fork, exits with its status

The client behaves like a Python interpreter that starts at once. The program gets the client's arguments,
environment, working directory and streams, receives its SIGINT and SIGTERM, and never outlives it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence

# These import TensorFlow, which starts threads only at its first operation, after the fork.
LOADED = ("trainer.train", "trainer.verification.verify")
BEFORE = frozenset(os.environ)


class Fork:
    """A program started by the server.

    Args:
        path: the server's socket.
        arguments: the arguments of the Python interpreter.
        streams: the program's stdin, stdout and stderr.

    Attributes:
        pid: the process id of the program.
    """

    def __init__(self, path: str, arguments: Sequence[str], *, streams: Sequence[int] = (0, 1, 2)) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(path)
        socket.send_fds(self._connection, [b"."], streams)
        self._file = self._connection.makefile("rw")
        request = {"arguments": list(arguments), "folder": os.getcwd(), "environment": dict(os.environ)}
        print(json.dumps(request), file=self._file, flush=True)
        self.pid = int(self._file.readline())

    def wait(self) -> int:
        """Waits for the program; returns its exit status, -N if signal N ended it."""
        with self._connection, self._file:
            return int(self._file.readline())


def serve(path: str) -> list[str]:
    """Serves requests until stdin ends. Returns only in the forked program, with its arguments."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the watcher processes are not waited for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
            client, _ = listener.accept()
            with client:
                if not os.fork():
                    return watch(client)
    sys.exit()


def watch(client: socket.socket) -> list[str]:
    """Forks the program, kills it if the client ends, sends its status. Returns only in the program."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    file = client.makefile("rw")
    request = json.loads(file.readline())
    pid = os.fork()
    if not pid:
        for name in BEFORE - request["environment"].keys():
            del os.environ[name]
        os.environ.update(
            request["environment"]
        )  # variables set by the imports stay, unless the client sets them too
        os.chdir(request["folder"])
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    if not pid:
        return request["arguments"]
    with contextlib.suppress(BrokenPipeError):
        print(pid, file=file, flush=True)
        program = os.pidfd_open(pid)
        if program not in select.select([client, program], [], [])[0]:
            os.kill(pid, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=file, flush=True)
    os._exit(0)


def run_program(arguments: list[str]) -> None:
    """Runs the program as the Python interpreter would."""
    import runpy

    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.path[0] = ""
        exec(arguments[1], {"__name__": "__main__"})
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(arguments[0])
        runpy.run_path(arguments[0], run_name="__main__")


def main() -> None:
    path, *arguments = sys.argv[1:]
    if not arguments:
        import importlib

        sys.modules["sklearn"] = None  # as the command line does
        for name in LOADED:
            importlib.import_module(name)
        gc.freeze()  # so that a fork's collector does not copy the pages of all modules

        arguments = serve(path)
        sys.executable = os.path.join(os.path.dirname(path), "python")
        run_program(arguments)
    else:
        fork = Fork(path, arguments)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _frame: os.kill(fork.pid, number))
        status = fork.wait()
        if status < 0:
            with contextlib.suppress(OSError):  # SIGKILL has no handler
                signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        sys.exit(status)


if __name__ == "__main__":
    main()

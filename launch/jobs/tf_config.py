"""TF_CONFIG for the workers of a job."""

from __future__ import annotations

import contextlib
import json
import socket


def tf_config(addresses: list[str], index: int) -> str:
    """The TF_CONFIG of worker `index`.

    >>> tf_config(["a:1", "b:2"], 1)
    '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}'
    """
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback interface that no process listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]

"""The workers of a job as TF_CONFIG names them, and their way past proxies. Needs no TensorFlow."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from data_pipeline.errors import UserError, shown
from data_pipeline.logs import log

# gRPC, which TensorFlow's workers talk with, reads them in lower case; other programs in upper case, too.
PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")
_PAST_PROXIES = "no_grpc_proxy"  # read by gRPC alone
_RULE = "TF_CONFIG must name a cluster of workers and this process's task"


@dataclass(frozen=True)
class Cluster:
    """All workers of a job.

    Attributes:
        addresses: host:port of every worker, the chief first; empty without TF_CONFIG.
        worker: which of them this process is.
    """

    addresses: tuple[str, ...] = ()
    worker: int = 0

    @property
    def num_workers(self) -> int:
        return len(self.addresses) or 1

    @property
    def is_chief(self) -> bool:
        return self.worker == 0

    def name(self, worker: int) -> str:
        """For people.

        >>> Cluster(("a:1", "b:2")).name(1)
        'worker 1 (b:2)'
        """
        return f"worker {worker} ({self.addresses[worker]})"


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of an address; an IPv6 host is in brackets.

    >>> host_and_port("localhost:80"), host_and_port("[::1]:80")
    (('localhost', 80), ('::1', 80))

    Raises:
        ValueError: it has no host, or no port from 1 to 65535.
    """
    host, colon, port = address.rpartition(":")
    is_number = port.isascii() and port.isdigit()
    if not colon or not host or not is_number or not 0 < int(port) < 65536 or host != host.strip():
        raise ValueError(f"an address must be host:port, got {address!r}")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host or "/" in host:
        raise ValueError(f"an address must be host:port, an IPv6 host in brackets, got {address!r}")
    return host, int(port)


def read_cluster() -> Cluster:
    """The cluster of TF_CONFIG; without it, of this process alone.

    Raises:
        UserError: TF_CONFIG is not valid, or has tasks other than workers and a chief.
    """
    text = os.environ.get("TF_CONFIG")
    if not text or not text.strip():
        return Cluster()
    try:
        return _checked(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{_RULE}, got {shown(text)} ({error})") from None


def _checked(content: Any) -> Cluster:
    """Raises ValueError with the rule that is broken."""
    if not isinstance(content, dict) or not isinstance(content.get("cluster"), dict):
        raise ValueError('it must be a JSON object with "cluster": {"worker": ["host:port", …]}')
    cluster, task = content["cluster"], content.get("task")
    if other := sorted(cluster.keys() - {"chief", "worker"}):
        raise ValueError(
            f"the roles of a cluster must be worker and chief, got {', '.join(map(repr, other))}"
        )
    for role, listed in cluster.items():
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise ValueError(f"{role} must be a list of addresses, got {shown(listed)}")
    if len(cluster.get("chief", [])) > 1:
        raise ValueError(f"there must be at most one chief, got {len(cluster['chief'])}")
    tasks = [(role, index) for role in ("chief", "worker") for index in range(len(cluster.get(role, [])))]
    addresses = tuple(cluster[role][index] for role, index in tasks)
    for address in addresses:
        host_and_port(address)
        if addresses.count(address) > 1:
            raise ValueError(f"each worker must have an address of its own, got {address} twice")
    if not isinstance(task, dict) or not {"type", "index"} <= task.keys():
        raise ValueError('it must have "task": {"type": …, "index": …}')
    role, index = task["type"], task["index"]
    if not isinstance(role, str) or role not in cluster:
        raise ValueError(f"the task's type must be one of {', '.join(cluster) or 'worker'}, got {role!r}")
    if isinstance(index, bool) or not str(index).isascii() or not str(index).isdigit():
        raise ValueError(f"the task's index must be a whole number, got {index!r}")
    if (role, int(index)) not in tasks:
        raise ValueError(
            f"the task's index must be less than the {len(cluster[role])} of {role}, got {index}"
        )
    return Cluster(addresses, tasks.index((role, int(index))))


@contextlib.contextmanager
def past_proxies(cluster: Cluster) -> Iterator[None]:
    """Lets the workers connect directly while the context lasts, whatever proxy the environment names.

    Only `no_grpc_proxy` changes, which nothing but gRPC reads: a download still goes through the proxy.
    """
    proxies = [name for name in PROXY_VARIABLES if os.environ.get(name) or os.environ.get(name.upper())]
    if cluster.num_workers == 1 or not proxies:
        yield
        return
    before = os.environ.get(_PAST_PROXIES)
    # gRPC reads `no_proxy` only if there is no `no_grpc_proxy`.
    known = [name for name in (before or os.environ.get("no_proxy") or "").split(",") if name.strip()]
    hosts = dict.fromkeys(host_and_port(address)[0] for address in cluster.addresses)
    os.environ[_PAST_PROXIES] = ",".join([*known, *(host for host in hosts if host not in known)])
    log.info(f"proxy     {', '.join(proxies)}: not used between the workers")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_PAST_PROXIES, None)
        else:
            os.environ[_PAST_PROXIES] = before

"""The workers of a job find each other before TensorFlow starts, whose own wait is silent and has no end.

Each worker listens on its address of TF_CONFIG. All but the chief connect to the chief and stay connected;
the chief connects back to each of them, so that both ways work, and tells all when all are there.
Then each frees its port for TensorFlow's server. The connections stay open until that server has
connected, too: if one breaks, that worker has died.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

from data_pipeline.logs import log
from trainer.cluster.cluster import Cluster, host_and_port
from trainer.cluster.connections import listen_on, read_line, reason_of, shut

FIRST_LINE_SECS = 1.0
LINE_SECS = 15.0
RETRY_SECS = 0.3
ANSWER_SECS = 5.0
_ALL_THERE, _CONNECTED = "all there", "connected"


@contextlib.contextmanager
def met(cluster: Cluster, timeout_secs: float) -> Iterator[None]:
    """Waits until all workers are there; start TensorFlow's server in the context.

    Says every `LINE_SECS` whom it waits for. A worker that dies while the context lasts ends this process
    with status 1 and one line that names it.

    Raises:
        OSError: another process listens on this worker's port.
        TimeoutError: a worker did not come in time; it is named.
    """
    meeting = (_Chief if cluster.is_chief else _Worker)(cluster)
    try:
        _wait(meeting, cluster, timeout_secs)
        meeting.all_there(timeout_secs)
        yield
        meeting.connected()
    finally:
        meeting.close()


def _wait(meeting: _Chief | _Worker, cluster: Cluster, timeout_secs: float) -> None:
    began = time.monotonic()
    next_line = began + FIRST_LINE_SECS
    has_waited = False
    while missing := meeting.missing():
        now = time.monotonic()
        names = ", ".join(f"{cluster.name(i)}: {why}" for i, why in sorted(missing.items()))
        if now - began >= timeout_secs:
            raise TimeoutError(
                f"all workers must join within {timeout_secs:g} s (train.join_timeout_secs), missing {names}"
            )
        if now >= next_line:
            left = timeout_secs - (now - began)
            log.warning(f"waiting   for {names} (worker {cluster.worker} gives up in {left:.0f} s)")
            next_line, has_waited = now + LINE_SECS, True
        time.sleep(0.05)
    if has_waited:
        log.info(f"waiting   is over: all {cluster.num_workers} workers have joined")


class _Meeting:
    """What chief and workers have in common: a port, and threads that end with `close`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._connected = threading.Event()
        self._is_all_there = False
        self._others = [i for i in range(cluster.num_workers) if i != cluster.worker]
        self._open: list[socket.socket] = []
        digest = hashlib.sha256(" ".join(cluster.addresses).encode()).hexdigest()[:16]
        self._greeting = f"reeltrain {digest}"
        self._server = listen_on(cluster.addresses[cluster.worker])
        self._thread(self._accept)

    def _thread(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, name="rendezvous", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return  # closed
            connection.settimeout(ANSWER_SECS)
            self._thread(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def _read_greeting(self, connection: socket.socket) -> int:
        """The index of the worker at the other end.

        Raises:
            OSError: it is no worker of this job.
        """
        greeting, _, index = read_line(connection).rpartition(" ")
        if greeting.startswith("reeltrain ") and greeting != self._greeting:
            raise OSError("its TF_CONFIG names another cluster")
        if greeting != self._greeting or not index.isdigit():
            raise OSError("answers, but is not a worker that waits to start")
        return int(index)

    def _greet(self, connection: socket.socket) -> None:
        connection.sendall(f"{self._greeting} {self._cluster.worker}\n".encode())

    def _call(self, worker: int) -> socket.socket:
        """A connection to another worker, which has greeted."""
        address = self._cluster.addresses[worker]
        connection = socket.create_connection(host_and_port(address), timeout=ANSWER_SECS)
        try:
            self._greet(connection)
            if self._read_greeting(connection) != worker:
                raise OSError("another worker answers there")
        except BaseException:
            connection.close()
            raise
        return connection

    def all_there(self, timeout_secs: float) -> None:
        """Frees the port; the connections stay. From now on TensorFlow has `timeout_secs` to connect."""
        shut(self._server)
        self._thread(self._limit, timeout_secs)

    def _limit(self, timeout_secs: float) -> None:
        deadline = time.monotonic() + timeout_secs
        while not self._closed.wait(min(LINE_SECS, max(0.0, deadline - time.monotonic()))):
            left = deadline - time.monotonic()
            others = ", ".join(self._cluster.name(i) for i in self._others)
            if left <= 0:
                limit = f"within {timeout_secs:g} s (train.join_timeout_secs), it did not"
                what = f"TensorFlow must connect with {others} {limit}"
                print(f"reeltrain: {what}", file=sys.stderr, flush=True)
                os._exit(1)
            log.warning(f"waiting   for TensorFlow to connect with {others} (gives up in {left:.0f} s)")

    def connected(self) -> None:
        """TensorFlow has connected: the connections may end."""
        self._connected.set()

    def close(self) -> None:
        self._closed.set()
        shut(self._server)
        with self._lock:
            for connection in self._open:
                if self._connected.is_set():
                    with contextlib.suppress(OSError):
                        connection.sendall(f"{_CONNECTED}\n".encode())
                shut(connection)

    def _lost(self, worker: int) -> None:
        """Called when a connection broke after all were there."""
        if not self._closed.is_set() and not self._connected.is_set():
            # Not logged: the process ends here, and the reason must be seen.
            name = self._cluster.name(worker)
            print(f"reeltrain: {name} ended while the workers connected", file=sys.stderr, flush=True)
            os._exit(1)


class _Chief(_Meeting):
    """Knows who is there."""

    def __init__(self, cluster: Cluster) -> None:
        self._missing = dict.fromkeys(range(1, cluster.num_workers), "has not joined yet")
        self._joined: dict[int, socket.socket] = {}
        super().__init__(cluster)
        for worker in range(1, cluster.num_workers):
            self._thread(self._look, worker)

    def missing(self) -> dict[int, str]:
        with self._lock:
            self._is_all_there = not self._missing
            return dict(self._missing)

    def all_there(self, timeout_secs: float) -> None:
        with self._lock:
            for worker, connection in self._joined.items():
                with contextlib.suppress(OSError):
                    connection.sendall(f"{_ALL_THERE}\n".encode())
                self._thread(self._watch, worker, connection)
        super().all_there(timeout_secs)

    def _look(self, worker: int) -> None:
        """Calls the worker until it can be reached: in a thread, since a name server may take its time."""
        while not self._closed.is_set() and not self._is_all_there:
            try:
                self._call(worker).close()
                why = ""
            except (OSError, ValueError) as error:
                why = reason_of(error)
            with self._lock:
                if not self._is_all_there:
                    if why or worker not in self._joined:
                        self._missing[worker] = why or "has not joined yet"
                    else:
                        self._missing.pop(worker, None)
            self._closed.wait(RETRY_SECS if worker in self._missing else 1.0)

    def _answer(self, connection: socket.socket) -> None:
        worker = 0
        try:
            worker = self._read_greeting(connection)
            self._greet(connection)
            with self._lock:
                is_known = 0 < worker < self._cluster.num_workers
                if self._closed.is_set() or self._is_all_there or not is_known:
                    return
                self._joined[worker] = connection
                self._open.append(connection)
            while not self._closed.is_set() and not self._is_all_there:
                with self._lock:
                    lines = "".join(f"{i} {why}\n" for i, why in self._missing.items()) + ".\n"
                connection.sendall(lines.encode())
                time.sleep(RETRY_SECS)
        except OSError as error:
            with self._lock:
                if self._joined.get(worker) is connection and not self._is_all_there:
                    del self._joined[worker]
                    self._missing[worker] = f"joined and ended ({reason_of(error)})"
        finally:
            if self._joined.get(worker) is not connection:
                connection.close()

    def _watch(self, worker: int, connection: socket.socket) -> None:
        _watch(connection, lambda: self._lost(worker))


class _Worker(_Meeting):
    """Joins the chief."""

    def __init__(self, cluster: Cluster) -> None:
        self._missing = {0: "has not answered yet"}
        super().__init__(cluster)
        self._thread(self._join)

    def missing(self) -> dict[int, str]:
        with self._lock:
            return {} if self._is_all_there else dict(self._missing)

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._read_greeting(connection)
            self._greet(connection)

    def _join(self) -> None:
        """Calls the chief until it says that all are there."""
        while not self._closed.is_set():
            try:
                with self._call(0) as chief:
                    self._listen_to(chief)
                    return
            except (OSError, ValueError) as error:
                with self._lock:
                    self._missing = {0: reason_of(error)}
            self._closed.wait(RETRY_SECS)

    def _listen_to(self, chief: socket.socket) -> None:
        with self._lock:
            self._open.append(chief)
        told: dict[int, str] = {}
        while (line := read_line(chief)) != _ALL_THERE:
            worker, _, why = line.partition(" ")
            if worker.isdigit() and int(worker) < self._cluster.num_workers:
                told[int(worker)] = why
            elif line == ".":
                # The chief may not have called back yet.
                others = {i: why for i, why in told.items() if i != self._cluster.worker}
                own = told.get(self._cluster.worker)
                with self._lock:
                    self._missing = others or {0: f"cannot reach this worker: {own}" if own else "starts"}
                told = {}
        with self._lock:
            self._is_all_there = True
        chief.settimeout(None)
        _watch(chief, lambda: self._lost(0))


def _watch(connection: socket.socket, lost: Callable[[], None]) -> None:
    """Reads until the other end says that it has connected; a connection that just ends is a loss."""
    try:
        connection.settimeout(None)
        while read_line(connection) != _CONNECTED:
            pass
    except OSError:
        lost()

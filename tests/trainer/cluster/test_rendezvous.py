"""Workers meet before TensorFlow starts: whom they wait for is said, and no wait is without an end."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from launch.jobs.tf_config import free_ports, tf_config
from support import runs
from trainer.cluster import rendezvous
from trainer.cluster.cluster import Cluster
from trainer.cluster.rendezvous import met

WORKER = """
import sys, time
from data_pipeline.logs import shown
from trainer.cluster.cluster import read_cluster
from trainer.cluster.rendezvous import met
with shown(), met(read_cluster(), float(sys.argv[2])):
    print("met", flush=True)
    time.sleep(float(sys.argv[1]))
print("connected", flush=True)
"""


def addresses_of(count):
    return tuple(f"127.0.0.1:{port}" for port in free_ports(count))


def meet(addresses, worker, timeout_secs=20.0):
    with met(Cluster(addresses, worker), timeout_secs):
        return worker


def start_worker(addresses, index, *, connects_for=0.0, timeout_secs=30):
    """A process that meets the others and then takes a while to connect."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(connects_for), str(timeout_secs)],
        env={**os.environ, "TF_CONFIG": tf_config(list(addresses), index)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def ended(*processes):
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_meet_in_any_order_and_free_their_ports(order):
    addresses = addresses_of(3)
    with ThreadPoolExecutor(3) as threads:
        waiting = []
        for worker in order:
            waiting.append(threads.submit(meet, addresses, worker))
            time.sleep(0.3)
        assert [each.result(timeout=20) for each in waiting] == list(order)
    for address in addresses:
        socket.create_server(("", int(address.split(":")[1]))).close()
    runs.wait_until(lambda: not [t for t in threading.enumerate() if t.name == "rendezvous"], timeout_secs=10)


@pytest.mark.parametrize("worker", [0, 1])
def test_who_is_missing_is_said_again_and_again_and_named_at_the_end(worker, monkeypatch, caplog):
    monkeypatch.setattr(rendezvous, "FIRST_LINE_SECS", 0.2)
    monkeypatch.setattr(rendezvous, "LINE_SECS", 0.3)
    addresses = addresses_of(2)
    name = f"worker {1 - worker} ({addresses[1 - worker]}): connection refused"
    with pytest.raises(TimeoutError, match="within 1 s") as raised, caplog.at_level("INFO", "reeltrain"):
        meet(addresses, worker, 1.0)
    assert str(raised.value).endswith(f"missing {name}")
    assert [line.split(" (worker")[0] for line in caplog.messages] == [f"waiting   for {name}"] * 3


def test_a_worker_says_whom_the_chief_still_waits_for(monkeypatch, caplog):
    monkeypatch.setattr(rendezvous, "FIRST_LINE_SECS", 1.0)
    addresses = addresses_of(3)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(meet, addresses, worker, 2.0) for worker in (0, 1)]
        for each in waiting:
            with pytest.raises(TimeoutError):
                each.result()
    lines = [line.split(" (worker")[0] for line in caplog.messages]
    assert lines == [f"waiting   for worker 2 ({addresses[2]}): connection refused"] * 2


def test_a_host_that_does_not_exist_is_named():
    addresses = (addresses_of(1)[0], "no-such-host.invalid:5")
    with pytest.raises(
        TimeoutError, match=r"worker 1 \(no-such-host.invalid:5\): .*(not known|no answer|joined)"
    ):
        meet(addresses, 0, 1.5)


def test_a_taken_port_is_an_error_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(OSError, match="another process listens on it") as raised:
            meet((address, "127.0.0.1:1"), 0)
    assert raised.value.filename == address


def test_something_else_at_a_workers_address_is_told():
    (other,) = addresses_of(1)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\n")

        threading.Thread(target=answer, daemon=True).start()
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(TimeoutError, match="answers, but is not a worker"):
            meet((taken, other), 1, 0.25)


def test_a_worker_of_another_cluster_is_told():
    first, second, third = addresses_of(3)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(meet, (first, second, third), 0, 1.5)
        with pytest.raises(TimeoutError, match=r"the connection ended|names another cluster"):
            meet((first, second), 1, 1.0)
        with pytest.raises(TimeoutError, match=r"worker 1 .*names another cluster|worker 1 .*refused"):
            other.result()


def test_a_worker_that_came_and_died_is_waited_for_again():
    addresses = addresses_of(3)
    chief, first = start_worker(addresses, 0), start_worker(addresses, 1)
    with ended(chief, first):
        line = chief.stderr.readline()
        assert "worker 2" in line
        first.kill()
        first.communicate()
        again, last = start_worker(addresses, 1), start_worker(addresses, 2)
        with ended(again, last):
            for each in (chief, again, last):
                assert each.communicate(timeout=20)[0] == "met\nconnected\n"


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_dies_while_tensorflow_connects_ends_the_others_by_name(victim):
    addresses = addresses_of(2)
    workers = [start_worker(addresses, index, connects_for=60) for index in (0, 1)]
    with ended(*workers):
        for worker in workers:
            assert worker.stdout.readline() == "met\n"
        workers[victim].kill()
        _, stderr = workers[1 - victim].communicate(timeout=10)
        assert workers[1 - victim].returncode == 1
        named = f"reeltrain: worker {victim} ({addresses[victim]}) ended while the workers connected\n"
        assert stderr.endswith(named)


def test_tensorflow_that_does_not_connect_ends_all_by_name():
    addresses = addresses_of(2)
    workers = [start_worker(addresses, index, connects_for=60, timeout_secs=3) for index in (0, 1)]
    with ended(*workers):
        _, stderr = workers[0].communicate(timeout=20)
        assert workers[0].returncode == 1
        assert f"must connect with worker 1 ({addresses[1]}) within 3 s" in stderr


def test_who_has_connected_first_is_not_missed():
    addresses = addresses_of(2)
    workers = [start_worker(addresses, index, connects_for=index * 1.5) for index in (0, 1)]
    with ended(*workers):
        assert [worker.communicate(timeout=20)[0] for worker in workers] == ["met\nconnected\n"] * 2

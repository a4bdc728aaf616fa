"""TF_CONFIG: what it names, what is wrong with it, and the way past proxies."""

import json
import os

import pytest

from data_pipeline.errors import UserError
from launch.jobs.tf_config import tf_config
from trainer.cluster.cluster import Cluster, past_proxies, read_cluster

TWO = ["10.0.0.1:1", "[::1]:2"]
NAME = "no_grpc_proxy"
TASK = {"type": "worker", "index": 0}


def read(monkeypatch, content):
    monkeypatch.setenv("TF_CONFIG", content if isinstance(content, str) else json.dumps(content))
    return read_cluster()


def test_without_tf_config_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert read_cluster() == Cluster()
    assert (Cluster().num_workers, Cluster().is_chief) == (1, True)


def test_the_chief_is_the_first_worker(monkeypatch):
    assert read(monkeypatch, tf_config(TWO, 1)) == Cluster(tuple(TWO), 1)
    cluster = {"worker": TWO, "chief": ["host:3"]}
    assert read(monkeypatch, {"cluster": cluster, "task": TASK}) == Cluster(("host:3", *TWO), 1)
    chief = read(monkeypatch, {"cluster": cluster, "task": {"type": "chief", "index": "0"}})
    assert chief == Cluster(("host:3", *TWO), 0)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "Expecting"),
        ("[" * 100_000, "recursion"),
        ([], "JSON object"),
        ({"cluster": [], "task": TASK}, "JSON object"),
        ({"cluster": {"worker": TWO, "ps": ["a:1"]}, "task": TASK}, "roles of a cluster must be .* got 'ps'"),
        ({"cluster": {"worker": TWO, "evaluator": ["a:1"]}, "task": TASK}, "got 'evaluator'"),
        ({"cluster": {"chief": ["a:1", "a:2"]}, "task": {"type": "chief", "index": 0}}, "at most one chief"),
        ({"cluster": {"worker": "a:1"}, "task": TASK}, "list of addresses, got 'a:1'"),
        ({"cluster": {"worker": {"0": "a:1"}}, "task": TASK}, "list of addresses"),
        ({"cluster": {"worker": ["a:1", 2]}, "task": TASK}, "list of addresses"),
        ({"cluster": {"worker": ["a:1", "a:1"]}, "task": TASK}, "got a:1 twice"),
        ({"cluster": {"worker": ["a"]}, "task": TASK}, "host:port, got 'a'"),
        ({"cluster": {"worker": [":1"]}, "task": TASK}, "host:port, got ':1'"),
        ({"cluster": {"worker": ["a:0"]}, "task": TASK}, "host:port, got 'a:0'"),
        ({"cluster": {"worker": ["a:65536"]}, "task": TASK}, "host:port"),
        ({"cluster": {"worker": ["::1:5"]}, "task": TASK}, "in brackets"),
        ({"cluster": {"worker": ["http://a:5"]}, "task": TASK}, "host:port"),
        ({"cluster": {"worker": TWO}}, "task"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker"}}, "index"),
        (
            {"cluster": {"worker": TWO}, "task": {"type": "evaluator", "index": 0}},
            "one of worker, got 'evalu",
        ),
        ({"cluster": {"worker": TWO}, "task": {"type": ["worker"], "index": 0}}, "type must be"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": 2}}, "less than the 2 of worker"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": -1}}, "whole number, got -1"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": True}}, "whole number"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": 0.0}}, "whole number"),
        ({"cluster": {"worker": []}, "task": TASK}, "less than the 0"),
        ({"cluster": {}, "task": TASK}, "one of worker"),
    ],
)
def test_a_mistake_in_tf_config_is_one_line_with_its_rule(monkeypatch, content, what):
    with pytest.raises(UserError, match=what) as raised:
        read(monkeypatch, content)
    assert str(raised.value).startswith(
        "TF_CONFIG must name a cluster of workers and this process's task, got "
    )
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 700


@pytest.fixture
def environment(monkeypatch):
    """Without proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY", "grpc_proxy"])
def test_workers_talk_past_a_proxy_and_everything_else_through_it(environment, proxy, caplog):
    environment.setenv(proxy, "http://127.0.0.1:9")
    environment.setenv("no_proxy", "intern.example")
    before = dict(os.environ)
    with caplog.at_level("INFO", "reeltrain"), past_proxies(Cluster(("10.0.0.1:1", "10.0.0.1:2", "[::1]:3"))):
        changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
        assert changed == {"no_grpc_proxy": "intern.example,10.0.0.1,::1"}
    assert dict(os.environ) == before
    assert caplog.messages == [f"proxy     {proxy.lower()}: not used between the workers"]


def test_a_list_of_ones_own_for_grpc_stays_also_after_an_error(environment):
    environment.setenv("http_proxy", "http://127.0.0.1:9")
    environment.setenv(NAME, "b,x")
    seen = []

    def fail():
        with past_proxies(Cluster(("a:1", "b:2"))):
            seen.append(os.environ.get(NAME))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [*seen, os.environ[NAME]] == ["b,x,a", "b,x"]


@pytest.mark.parametrize("cluster", [Cluster(), Cluster(("a:1",))])
def test_a_process_alone_says_nothing_of_a_proxy(environment, caplog, cluster):
    environment.setenv("http_proxy", "http://127.0.0.1:9")
    with caplog.at_level("INFO", "reeltrain"), past_proxies(cluster):
        assert "no_grpc_proxy" not in os.environ
    assert caplog.messages == []

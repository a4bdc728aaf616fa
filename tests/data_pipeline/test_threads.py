"""`in_order`: results in task order, a bounded number of tasks ahead, exceptions in their place."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from data_pipeline.threads import in_order, num_cores


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_cores_are_counted_where_the_system_does_not_report_affinity(monkeypatch):
    assert num_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert num_cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cores() == 1


def test_results_are_in_order_and_few_tasks_are_ahead(threads):
    begun = []

    def task(number):
        time.sleep(0.001 * (number % 3))
        return number

    def tasks():
        for number in range(50):
            begun.append(number)
            yield partial(task, number)

    for expected, result in enumerate(in_order(tasks(), threads, ahead=4)):
        assert result == expected
        assert len(begun) <= expected + 5


@pytest.mark.parametrize("ahead", [0, 1, 3, 100])
def test_an_exception_is_raised_in_its_place(threads, ahead):
    def fail(number):
        raise ValueError(number)

    def tasks(*, failing=None):
        yield from (partial(fail if number == failing else int, number) for number in range(5))
        raise OSError("unreadable")

    seen = []
    with pytest.raises(OSError, match="unreadable"):
        seen.extend(in_order(tasks(), threads, ahead=ahead))
    assert seen == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="3"):
        list(in_order(tasks(failing=3), threads, ahead=ahead))

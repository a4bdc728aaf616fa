"""A signal is obeyed at any moment, also while the main thread is in a call that lasts."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from trainer.run.signals import StopRequest, stop_on_signal

# pbkdf2_hmac computes for minutes without running Python's signal handlers, as a compiler does.
PROGRAM = """
import ctypes, hashlib, signal, sys, time
from data_pipeline.logs import shown
from trainer.run.signals import StopRequest, stop_on_signal

request = StopRequest()
request.at_once = None if "saves" in sys.argv else "nothing to save yet"
with shown(), stop_on_signal(request):
    print("ready", flush=True)
    if "python" in sys.argv:
        while request.signum is None:
            time.sleep(0.01)
        request.at_once = "all is saved" if "saved" in sys.argv else None
        print("asked by", int(request.signum), flush=True)
        time.sleep(60)
    if "replaced" in sys.argv:  # as TensorFlow's server does
        ctypes.CDLL(None).signal(signal.SIGTERM, signal.SIG_IGN)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
"""


@pytest.fixture
def start():
    started = []

    def begin(*arguments):
        command = [sys.executable, "-c", PROGRAM, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)  # until it computes
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_with_nothing_to_save_the_first_signal_ends_a_long_call_with_a_line(start, signum):
    process = start()
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 128 + signum
    assert stderr == f"{signum.name}: stopping at once, nothing to save yet\n"


def test_a_handler_that_is_replaced_in_c_is_put_back(start):
    process = start("replaced")
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 143
    assert stderr == "SIGTERM: stopping at once, nothing to save yet\n"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_with_something_to_save_the_first_signal_is_said_and_the_second_ends(start, second):
    process = start("saves")
    process.send_signal(signal.SIGTERM)
    said = "SIGTERM: saving a checkpoint, then stopping (again: stop at once)\n"
    assert process.stderr.readline() == said
    assert process.poll() is None
    process.send_signal(second)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 128 + second
    assert stderr == f"{second.name}: stopping at once\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_main_thread_ends_by_itself_where_it_runs_python(start, signum):
    process = start("saves", "python", "saved")
    process.send_signal(signum)
    assert process.stdout.readline() == f"asked by {int(signum)}\n"
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == (143 if signum == signal.SIGTERM else -signal.SIGINT)
    assert f"{signum.name}: stopping at once, all is saved\n" in stderr
    assert ("KeyboardInterrupt" in stderr) == (signum == signal.SIGINT)


def test_everything_is_as_before_afterwards():
    def handler(*_):
        pass

    own, before = signal.signal(signal.SIGTERM, handler), set(threading.enumerate())
    try:
        with stop_on_signal(StopRequest()):
            assert signal.getsignal(signal.SIGTERM) is not handler
        assert signal.getsignal(signal.SIGTERM) is handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.set_wakeup_fd(-1) == -1
        assert set(threading.enumerate()) == before
    finally:
        signal.signal(signal.SIGTERM, own)


def test_a_signal_of_its_caller_reaches_the_callers_handler():
    received = []
    own = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    try:
        with pytest.raises(SystemExit), stop_on_signal(StopRequest()):
            signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, own)


@pytest.mark.parametrize(
    ("signum", "expected"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_an_exception_that_hides_the_signals_is_replaced_by_it(signum, expected):
    def trace():
        try:
            signal.raise_signal(signum)
        except BaseException:
            raise RuntimeError("out of scope") from None

    with pytest.raises(expected), stop_on_signal(StopRequest()):
        trace()


def test_a_thread_that_is_not_the_main_one_changes_no_handler():
    def use():
        with stop_on_signal(StopRequest()):
            seen.append(signal.getsignal(signal.SIGTERM))

    seen = []
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]

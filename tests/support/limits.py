"""Limits of this process, to test what happens beyond them."""

import contextlib
import resource
import signal


@contextlib.contextmanager
def file_size_limit(num_bytes):
    """Simulates a full disk: no file of this process may exceed a number of bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

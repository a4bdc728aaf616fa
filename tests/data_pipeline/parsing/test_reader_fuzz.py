"""Fuzzes the readers: malformed files give exactly their rows or a one-line error, never a traceback."""

import pytest

from support.reader_fuzz import run_case

# Run by hand: 20,000 cases of `python -m support.reader_fuzz`.
CASES_PER_TEST = 50


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 500, CASES_PER_TEST))
@pytest.mark.timeout(60)
def test_any_file_is_read_as_the_slow_reader_reads_it_or_refused_in_one_line(tmp_path, first):
    outcomes = {run_case(seed, tmp_path) for seed in range(first, first + CASES_PER_TEST)}
    assert {"read", "refused", "some rows bad"} <= outcomes

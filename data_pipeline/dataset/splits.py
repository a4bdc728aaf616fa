"""The parts' numbers, one byte a row."""

from __future__ import annotations

TRAIN, VALIDATION, TEST = 0, 1, 2
UNDECIDED = 254
DROPPED = 255
SPLITS = ("train", "validation", "test")

"""The names and numbers of the splits; a split assignment has one such number (uint8) per row."""

from __future__ import annotations

TRAIN, VALIDATION, TEST = 0, 1, 2
UNASSIGNED = 254  # only while splits are being assigned
DROPPED = 255
SPLITS = ("train", "validation", "test")

"""The progress of training on stderr, so that stdout is for results."""

from __future__ import annotations

import time

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.windows import StepBlock
from data_pipeline.logs import console, log

# Without a terminal, a line at least this often within an epoch.
LINE_EVERY_SECS = 10.0
# Epochs shorter than this share a line: the last one to end.
EPOCH_LINE_SECS = 1.0


class TrainProgress:
    """Shows epoch, step, loss, examples per second and time left: a bar on a terminal, and lines in the log.

    Args:
        first_step, last_step: where this call starts and where training ends.
        quiet: shows nothing.
    """

    def __init__(
        self, *, first_step: int, last_step: int, epochs: int, steps_per_epoch: int, quiet: bool
    ) -> None:
        self._last_step = last_step
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._quiet = quiet
        self._begun = self._line_shown = time.monotonic()
        self._first_step = first_step
        self._compiled: tuple[float, int] | None = None  # when the first block was done, and its last step
        self._bar: Progress | None = None
        if console().is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
                BarColumn(),
                TextColumn("step {task.completed}/{task.total}  {task.fields[text]}"),
                TimeRemainingColumn(),
                console=console(),
                transient=True,
            )
            self._task = self._bar.add_task(
                "", total=last_step, completed=first_step, epoch=1, epochs=epochs, text="compiling …"
            )
            self._bar.start()

    def update(self, step: int, *, loss: float, examples_per_sec: float | None) -> None:
        """After every block."""
        if not self._compiled:
            self._compiled = (time.monotonic(), step)
        if self._bar:
            self._bar.update(
                self._task,
                completed=step,
                epoch=(step - 1) // self._steps_per_epoch + 1,
                text=f"loss {loss:.4f}  {_rate(examples_per_sec)}",
            )
        elif time.monotonic() - self._line_shown > LINE_EVERY_SECS:
            self._line(step, f"loss {loss:.4f}  {_rate(examples_per_sec)}")

    def epoch_end(self, step: int, logs: dict[str, float], *, examples_per_sec: float | None) -> None:
        """After every epoch, with its means."""
        if step < self._last_step and time.monotonic() - self._line_shown < EPOCH_LINE_SECS:
            return
        text = "  ".join(f"{name} {value:.4f}" for name, value in logs.items() if name != "val_loss")
        self._line(step, f"{text}  {_rate(examples_per_sec)}")

    def close(self) -> None:
        """Removes the bar."""
        if self._bar:
            self._bar.stop()

    def _line(self, step: int, text: str) -> None:
        self._line_shown = time.monotonic()
        if self._quiet:
            return
        epoch = (step - 1) // self._steps_per_epoch + 1
        since, first_step = self._begun, self._first_step
        if self._compiled and self._compiled[1] < step:  # the first block, which compiles, says little
            since, first_step = self._compiled
        per_step = (self._line_shown - since) / (step - first_step)
        left = round((self._last_step - step) * per_step)
        log.info(f"epoch {epoch}/{self._epochs}  step {step}/{self._last_step}  {text}  {left} s left")


def _rate(examples_per_sec: float | None) -> str:
    return "" if examples_per_sec is None else f"{examples_per_sec:,.0f} examples/s"


class Speed:
    """Examples per second of training; the first block, which compiles, does not count."""

    def __init__(self, order: BatchOrder) -> None:
        self._order = order
        self._examples = 0
        self._secs = 0.0
        self._since: float | None = None

    def count(self, block: StepBlock) -> None:
        """After a block was trained."""
        if self._since is not None:
            batch = self._order.global_batch_size
            rows_left = self._order.num_rows - block.first_step * batch
            self._examples += min(block.num_steps * batch, rows_left)
            self._secs += time.monotonic() - self._since

    def restart(self) -> None:
        """Before the next block."""
        self._since = time.monotonic()

    @property
    def examples_per_sec(self) -> float | None:
        """None before the second block."""
        return self._examples / self._secs if self._secs else None

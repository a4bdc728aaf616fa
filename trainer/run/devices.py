"""The devices of a run: strategy, replicas, precision."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.python import pywrap_tfe

from data_pipeline.errors import UserError
from data_pipeline.logs import log
from data_pipeline.threads import num_cores
from trainer.cluster.cluster import Cluster
from trainer.cluster.rendezvous import met
from trainer.config import TrainConfig

# More logical CPUs per core than this only wait for each other.
LOGICAL_CPUS_PER_CORE = 4

_REDUCTIONS = {
    "nccl": tf.distribute.NcclAllReduce,
    "hierarchical_copy": tf.distribute.HierarchicalCopyAllReduce,
    "one_device": tf.distribute.ReductionToOneDevice,
}


@dataclass(frozen=True)
class Devices:
    """The devices of a run, over all its workers.

    Attributes:
        strategy: on one device the default strategy, so that a whole block can be one program.
        precision: the Keras dtype policy that it trains with.
        num_workers, worker: the number of processes, and the index of this one; worker 0 is the chief.
        local_replicas: replicas of this process.
        threads: cores for each replica on a CPU; 0 on a GPU.
        description: for people.
    """

    strategy: tf.distribute.Strategy
    precision: str
    num_workers: int
    worker: int
    local_replicas: int
    threads: int
    description: str

    @property
    def num_replicas(self) -> int:
        """Replicas over all workers; every worker has the same number."""
        return self.strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        return self.worker == 0

    def facts(self) -> dict[str, Any]:
        """For `environment.json`."""
        return {
            "devices": self.description,
            "replicas": self.num_replicas,
            "workers": self.num_workers,
        }

    @property
    def shards(self) -> range:
        """This worker's shares of the global batch, one per local replica."""
        return range(self.worker * self.local_replicas, (self.worker + 1) * self.local_replicas)


def max_replicas(config: TrainConfig) -> int:
    """The largest number of this process's devices that divides the batch; ignores `config.replicas`."""
    num_devices = len(tf.config.list_physical_devices("GPU")) or 1
    rows = config.global_batch_size // config.accumulation_steps
    return max(number for number in range(1, num_devices + 1) if rows % number == 0)


def set_up_devices(config: TrainConfig, cluster: Cluster | None = None) -> Devices:
    """Chooses strategy and precision from the configuration, the cluster and the hardware.

    Must run before TensorFlow uses a device: logical CPUs and collectives cannot change afterwards.

    Args:
        cluster: the workers of the job; this process waits for the others. None: it trains alone.

    Raises:
        UserError: more replicas than devices, or a batch that does not divide by the replicas.
        OSError: this worker's port is taken.
        TimeoutError: another worker did not come in time.
    """
    cluster = cluster or Cluster()
    num_workers = cluster.num_workers
    gpus = tf.config.list_physical_devices("GPU")
    local = config.replicas or len(gpus) or 1
    replicas = local * num_workers
    if config.global_batch_size % replicas:
        raise UserError(
            f"train.global_batch_size ({config.global_batch_size}) must be a multiple of the replicas "
            f"({replicas} = {counted(num_workers, 'worker')} x {local})"
        )
    if config.global_batch_size // replicas % config.accumulation_steps:
        raise UserError(
            f"train.accumulation_steps ({config.accumulation_steps}) must divide a replica's batch "
            f"({config.global_batch_size // replicas} = {config.global_batch_size} / {replicas} replica(s))"
        )
    if gpus:
        if local > len(gpus):
            raise UserError(f"train.replicas must be at most the number of GPUs ({len(gpus)}), got {local}")
        _see(gpus[:local])
        names = [f"GPU:{i}" for i in range(local)]
    else:
        most = LOGICAL_CPUS_PER_CORE * (os.cpu_count() or 1)
        if num_workers > 1 and local > 1:
            raise UserError(f"train.replicas must be 1 per worker if a worker has no GPU, got {local}")
        if local > most:
            raise UserError(
                f"train.replicas must be at most {most} logical CPUs on this machine's {os.cpu_count()} "
                f"cores (no GPU found), got {local}"
            )
        # `launch local` divides the cores among its workers with this variable of TensorFlow.
        cores = int(os.environ.get("TF_NUM_INTRAOP_THREADS") or num_cores())
        threads = max(1, cores // local)
        if local > 1:
            _divide_cpu(local, threads=threads * local)
        names = [f"CPU:{i}" for i in range(local)]

    precision = _choose_precision(config.precision, gpus[:local])
    device = "GPU" if gpus else "CPU" if local == 1 else "CPU (logical)"
    return Devices(
        strategy=_make_strategy(cluster, names, config),
        precision=precision,
        num_workers=num_workers,
        worker=cluster.worker,
        local_replicas=local,
        threads=0 if gpus else threads,
        description=f"{counted(num_workers, 'worker')} x {local} {device}",
    )


def _divide_cpu(local: int, *, threads: int) -> None:
    """Makes logical CPUs, as many as there are replicas; TensorFlow can do that before its first operation.

    Raises:
        UserError: TensorFlow was used before, with fewer logical CPUs.
    """
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * local)
        # All replicas share one thread pool, which runs XLA's programs even if they use a single thread: with
        # fewer threads than replicas, replicas wait for each other; with more threads than cores, they
        # compete (docs/LOG.md).
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:  # TensorFlow was used before in this process
        found = len(tf.config.list_logical_devices("CPU"))
        if found < local:
            raise UserError(
                f"train.replicas={local} needs {local} logical CPUs, which TensorFlow makes only before its "
                f"first operation in a process, got {found}: train first in a new process, or run "
                "`reeltrain train` in a shell"
            ) from None


def _see(gpus: list[Any]) -> None:
    """Makes these GPUs visible to TensorFlow, with memory that grows as needed.

    If TensorFlow is already initialized, by an earlier run in this process, visible devices and memory stay
    as they are.
    """
    with contextlib.suppress(RuntimeError):
        if tf.config.get_visible_devices("GPU") != gpus:
            tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):
            if not tf.config.experimental.get_memory_growth(gpu):
                tf.config.experimental.set_memory_growth(gpu, True)


def let_memory_grow() -> None:
    """Lets TensorFlow allocate GPU memory as needed, unless it is already initialized."""
    _see(tf.config.list_physical_devices("GPU"))


# The cluster of this process's TensorFlow server, which lives as long as the process.
_served: list[Cluster] = []


def _make_strategy(cluster: Cluster, names: list[str], config: TrainConfig) -> tf.distribute.Strategy:
    reduction = config.reduction
    if cluster.num_workers > 1:
        if _served:
            if _served != [cluster]:
                raise UserError(
                    "TF_CONFIG must stay the same while a process lives, got another cluster or task"
                )
            return tf.distribute.MultiWorkerMirroredStrategy()
        with met(cluster, config.join_timeout_secs), _other_threads_running():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        _served.append(cluster)
        return strategy
    if len(names) == 1:
        return tf.distribute.get_strategy()
    if reduction == "auto" and names[0].startswith("CPU"):
        reduction = "one_device"  # On logical CPUs the default's ring of collectives only adds threads.
    cross_device_ops = _REDUCTIONS[reduction]() if reduction != "auto" else None
    return tf.distribute.MirroredStrategy(names, cross_device_ops=cross_device_ops)


@contextlib.contextmanager
def _other_threads_running() -> Iterator[None]:
    """Lets Python's other threads run while TensorFlow's server connects.

    TensorFlow's binding holds the interpreter lock until all workers have connected: nothing could be said,
    limited or stopped meanwhile. So its C function is called past the binding, where it can be found.
    """
    name = "TFE_EnableCollectiveOps"
    try:
        library = ctypes.CDLL(os.path.join(tf.sysconfig.get_lib(), "libtensorflow_cc.so.2"))
        enable = getattr(library, name)
        library.TF_NewStatus.restype = ctypes.c_void_p
        library.TF_Message.restype = ctypes.c_char_p
    except (OSError, AttributeError):
        log.debug(f"{name} is not where TensorFlow 2.21 has it: signals wait while TensorFlow connects")
        yield
        return
    pointer_of, name_of = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_GetName
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]

    def connect(context: object, server: bytes) -> None:
        status = ctypes.c_void_p(library.TF_NewStatus())
        try:
            pointer = ctypes.c_void_p(pointer_of(context, name_of(context)))
            enable(pointer, server, ctypes.c_size_t(len(server)), status)
            if code := library.TF_GetCode(status):
                message = library.TF_Message(status).decode(errors="replace")
                raise tf.errors.exception_type_from_error_code(code)(None, None, message)
        finally:
            library.TF_DeleteStatus(status)

    binding = getattr(pywrap_tfe, name)
    setattr(pywrap_tfe, name, connect)
    try:
        yield
    finally:
        setattr(pywrap_tfe, name, binding)


def _choose_precision(wanted: str, gpus: list[Any]) -> str:
    if wanted != "auto":
        return wanted
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus
    ]
    if capabilities and min(capabilities) >= (8, 0):
        return "mixed_bfloat16"
    if capabilities and min(capabilities) >= (7, 0):
        return "mixed_float16"
    return "float32"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "step"), counted(2375, "step")
    ('1 step', '2,375 steps')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

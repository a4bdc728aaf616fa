"""Facts about the machine: hardware and package versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from data_pipeline.threads import num_cores

PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "pandas", "scikit-learn")


def machine_facts() -> dict[str, str | int | float]:
    """Cores that this process may use, processor, system, versions, and the 1-minute load average."""
    facts: dict[str, str | int | float] = {
        "cores": num_cores(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def describe(facts: dict[str, str | int | float]) -> str:
    """The facts in two lines."""
    versions = [f"{name} {facts[name]}" for name in ("python", *PACKAGES) if name in facts]
    return (
        f"{facts['cores']} cores of {facts['processor']}, {facts['system']}, "
        f"load before {facts['load_before']}\n{', '.join(versions)}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"

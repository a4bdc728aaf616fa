"""The verbs of the command line. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import click

from launch.jobs.command import launch
from launch.verbs.config import config
from launch.verbs.evaluate import evaluate
from launch.verbs.predict import predict
from launch.verbs.prepare import prepare
from launch.verbs.recommend import recommend
from launch.verbs.train import train
from launch.verbs.verify import verify

# TensorFlow takes seconds to import: each verb imports what it needs, after its arguments were checked.


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="reeltrain")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Trains embedding+MLP recommenders on one CPU, all GPUs of a server, or several machines."""


for verb in (prepare, train, evaluate, predict, recommend, config, verify, launch):
    cli.add_command(verb)

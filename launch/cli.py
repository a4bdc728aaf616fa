"""The command line's group of verbs. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import logging

import click

from data_pipeline import advice
from data_pipeline.logs import log, shown
from launch.jobs.command import launch
from launch.verbs.config import config
from launch.verbs.embeddings import embeddings
from launch.verbs.evaluate import evaluate
from launch.verbs.predict import predict
from launch.verbs.prepare import prepare
from launch.verbs.recommend import recommend
from launch.verbs.similar import similar
from launch.verbs.train import train
from launch.verbs.verify import verify
from launch.verbs.versions import versions

# TensorFlow takes seconds to import: each verb imports what it needs, after its arguments were checked.


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="reeltrain")
@click.option("--debug", is_flag=True, help="Show debug messages and tracebacks.")
@click.option("--quiet", is_flag=True, help="Show no status messages.")
@click.pass_context
def cli(context: click.Context, debug: bool, quiet: bool) -> None:
    """Train recommenders (embeddings and MLPs) on one CPU, several GPUs or several machines."""
    context.with_resource(shown(quiet=quiet))
    verb = cli.commands.get(context.invoked_subcommand or "")
    options = [option for each in verb.params for option in each.opts] if verb else []
    # An argument has a name too, without dashes.
    context.with_resource(advice.speaking({each.lstrip("-") for each in options if each.startswith("-")}))
    if debug:
        log.setLevel(logging.DEBUG)
        if isinstance(context.obj, dict):
            context.obj["debug"] = True


for verb in (
    prepare,
    versions,
    train,
    evaluate,
    predict,
    recommend,
    similar,
    embeddings,
    config,
    verify,
    launch,
):
    cli.add_command(verb)

"""Reads YAML that has no anchors, aliases or tags and is one document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from data_pipeline.errors import UserError, shown


class StrictLoader(yaml.SafeLoader):
    """A SafeLoader of YAML 1.2's core types that refuses anchors, aliases and tags."""

    # Not YAML 1.1's, by which `no` is false, 1:30 is 90, 010 is 8 and 1e-3 a text.
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Composes a node that has no anchor and no tag."""
        event = self.peek_event()
        refused = ""
        if getattr(event, "anchor", None) is not None:
            refused = "alias" if isinstance(event, yaml.AliasEvent) else "anchor"
        elif getattr(event, "tag", None) is not None:
            refused = "tag"
        if refused:
            value = event.tag if refused == "tag" else event.anchor
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"anchors, aliases and tags are not allowed, got the {refused} {value!r}",
                event.start_mark,
            )
        return super().compose_node(parent, index)


for _type, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?[0-9]+[eE][-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_type}", re.compile(f"^(?:{_pattern})$"), _first)


def read_strict_yaml(text: str, name: str, mapping: Callable[[Iterable[tuple[Any, Any, str]]], Any]) -> Any:
    """The one document of a YAML text; each mapping as `mapping` of (key, value, "name:line").

    Raises:
        UserError: it is not such YAML; with the line.
    """

    def value_of(node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return mapping(
                (value_of(key), value_of(value), where(key.start_mark)) for key, value in node.value
            )
        if isinstance(node, yaml.SequenceNode):
            return [value_of(each) for each in node.value]
        return loader.construct_object(node)

    def where(mark: Any) -> str:
        return f"{name}:{mark.line + 1}"

    try:
        loader = StrictLoader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else value_of(node)
        finally:
            loader.dispose()
    except yaml.constructor.ConstructorError as error:
        raise UserError(f"{where(error.problem_mark)}: {error.problem}") from None
    except yaml.composer.ComposerError as error:
        raise UserError(
            f"{where(error.problem_mark)}: a configuration must be one YAML document, got a second one"
        ) from None
    except yaml.MarkedYAMLError as error:
        place = where(error.problem_mark) if error.problem_mark else name
        raise UserError(f"{place}: a configuration file must be YAML, got: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        got = shown(chr(error.character)) if isinstance(error.character, int) else shown(error.character)
        raise UserError(f"{name}: a configuration file must be YAML, got the character {got}") from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{name}: a configuration file must be YAML, got: {error}") from None

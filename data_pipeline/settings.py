"""Settings declared once: type, default, range, help text, and whether a continued run may change them.

A part of the configuration is a frozen dataclass under `@settings_part("train")`. Its fields are annotated:
`epochs: Annotated[int, setting("Passes over the training rows.", ge=1)] = 5`. pydantic checks every object
when it is made; an error is a `UserError` of one line with key, rule and value.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal, TypeVar

import pydantic
from pydantic.dataclasses import dataclass as checked_dataclass
from pydantic.fields import FieldInfo

from data_pipeline.errors import UserError, shown

# NumPy's seeds have 32 bits; rows, and TensorFlow's steps and sizes, are counted in signed 32 bits.
SEED_LIMIT, COUNT_LIMIT = 2**32, 2**31

Part = TypeVar("Part")


def setting(help_text: str, *, changeable: bool = False, rule: str = "", **bounds: Any) -> Any:
    """What a field's annotation says about it.

    Args:
        help_text: one or two short sentences, with the unit.
        changeable: whether a run may be continued with another value.
        rule: replaces the words for type and range, where these do not say enough.
        bounds: of `pydantic.Field`: `ge`, `gt`, `lt`, `pattern`, `allow_inf_nan`.
    """
    extra: Any = {"changeable": changeable, "rule": rule}
    return pydantic.Field(description=help_text, json_schema_extra=extra, **bounds)


def settings_part(name: str) -> Callable[[type[Part]], type[Part]]:
    """Checks every object of a frozen dataclass when it is made; its keys in errors are `name.field`."""

    def decorate(part: type[Part]) -> type[Part]:
        config = pydantic.ConfigDict(strict=True, extra="forbid")
        checked: Any = checked_dataclass(frozen=True, config=config)(part)
        check = checked.__init__

        @functools.wraps(check)
        def __init__(self: Any, *args: Any, **values: Any) -> None:  # noqa: N807
            try:
                check(self, *args, **values)
            except pydantic.ValidationError as error:
                raise UserError(_one_line(name, checked, error)) from None

        checked.__init__ = __init__
        checked.__doc__ = part.__doc__
        return checked

    return decorate


@dataclasses.dataclass(frozen=True)
class Setting:
    """A declared setting.

    Attributes:
        key: dotted, as in `train.epochs`.
        annotation: its type, without the range.
        rule: what a value must be, in words: `at least 1`, `one of a, b`.
    """

    key: str
    annotation: Any
    default: Any
    rule: str
    help_text: str
    changeable: bool

    @property
    def is_optional(self) -> bool:
        """Whether the value may be none."""
        return typing.get_origin(self.annotation) in (types.UnionType, typing.Union)

    @property
    def choices(self) -> tuple[str, ...]:
        """All values, where there are few."""
        return typing.get_args(self.annotation) if typing.get_origin(self.annotation) is Literal else ()

    @property
    def type_and_rule(self) -> str:
        """`int, at least 1`; the rule alone where it implies the type."""
        if self.annotation not in (int, float) or self.rule == self.annotation.__name__:
            return "text" if self.rule == "str" else self.rule
        return f"{self.annotation.__name__}, {self.rule}"

    @property
    def is_tuple(self) -> bool:
        return typing.get_origin(self.annotation) is tuple


def declared_settings(name: str, part: Any) -> dict[str, Setting]:
    """Key -> declaration, for every field of a part."""
    declared = {}
    for field_name, field in part.__pydantic_fields__.items():
        extra = typing.cast("dict[str, Any]", field.json_schema_extra)
        declared[f"{name}.{field_name}"] = Setting(
            key=f"{name}.{field_name}",
            annotation=field.annotation,
            default=field.default,
            rule=extra["rule"] or _rule(field),
            help_text=field.description or "",
            changeable=extra["changeable"],
        )
    return declared


def parse_settings(settings: Iterable[str], declared: Mapping[str, Setting]) -> dict[str, Any]:
    """Key -> value of `part.key=value` texts, of which the last of a key counts.

    Raises:
        UserError: an unknown key or a value that is not of the key's type.
    """
    values = {}
    for text in settings:
        key, separator, value = text.partition("=")
        if not separator:
            raise UserError(f"a setting has the form part.key=value, got {shown(text)}")
        values[key.strip()] = _parse(key.strip(), value.strip(), declared)
    return values


def unknown_setting(key: str, known: Collection[str], *, parts: Iterable[str]) -> str:
    """The error for a key that does not exist, with the nearest that does."""
    key_of_name = {each.rpartition(".")[2]: each for each in known}
    of_part = [each for each in known if each.startswith(f"{key.partition('.')[0]}.")]
    parts = list(parts)
    nearest = difflib.get_close_matches(key, [*known, *parts], n=1)
    if not nearest:  # the part is missing or another one
        names = difflib.get_close_matches(key.rpartition(".")[2], key_of_name, n=1)
        nearest = [key_of_name[name] for name in names]
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"unknown setting {shown(key)}; known: {', '.join(of_part or parts)}{hint}"


def _parse(key: str, text: str, declared: Mapping[str, Setting]) -> Any:
    """Text from the command line as a value of the key's type."""
    if key not in declared:
        parts = dict.fromkeys(each.partition(".")[0] for each in declared)
        raise UserError(unknown_setting(key, declared, parts=parts))
    wanted = declared[key]
    try:
        if wanted.is_tuple:
            text = "" if text == "none" else text.strip("()[]")
            return tuple(int(part) for part in text.split(",") if part.strip())
        if wanted.is_optional:
            return None if text == "none" else float(text)
        return text if wanted.choices else wanted.annotation(text)
    except ValueError:
        raise UserError(f"{key} must be {_type_name(wanted.annotation)}, got {shown(text)}") from None


def _one_line(name: str, part: Any, error: pydantic.ValidationError) -> str:
    """The first mistake: key, rule and value."""
    first = error.errors(include_url=False)[0]
    kind, value, context = first["type"], first["input"], first.get("ctx", {})
    if kind == "value_error":  # of a rule over several fields, which is a line already
        return str(context["error"])
    declared = declared_settings(name, part)
    place = first["loc"][0]
    if kind == "unexpected_positional_argument":
        return f"{part.__name__} has {len(declared)} settings, got more values: {shown(value)}"
    key = list(declared)[place] if isinstance(place, int) else f"{name}.{place}"
    if key not in declared:
        return unknown_setting(key, declared, parts=[name])
    field = part.__pydantic_fields__[key.partition(".")[2]]
    if kind in ("greater_than_equal", "greater_than", "less_than", "finite_number"):
        above = kind == "less_than" and value >= context["lt"] >= COUNT_LIMIT  # not where it is NaN
        return f"{key} must be {_range(field, above=above)}, got {value}"
    if kind in ("literal_error", "string_pattern_mismatch"):
        return f"{key} must be {declared[key].rule}, got {shown(value)}"
    return f"{key} must be {_type_name(field.annotation)}, got {shown(value)}"


def _rule(field: FieldInfo) -> str:
    """Type and range in words."""
    if typing.get_origin(field.annotation) is Literal:
        return f"one of {', '.join(typing.get_args(field.annotation))}"
    range_text = _range(field)
    if type(None) in typing.get_args(field.annotation) and not range_text.endswith(" or none"):
        range_text += " or none"
    return range_text or _type_name(field.annotation)


def _range(field: FieldInfo, *, above: bool = False) -> str:
    """The range in words; the limit of what can be counted is mentioned only where a value is above it."""
    metadata = list(field.metadata)
    for item in typing.get_args(field.annotation):  # of a tuple: its items' range
        metadata += [each for kind in typing.get_args(item) for each in getattr(kind, "metadata", [])]
    lowest, lower, limit = (_bound(metadata, name) for name in ("ge", "gt", "lt"))
    if above:
        return f"below {limit}"
    if lower == 0 and limit is None:
        return "a positive number"
    words = f"at least {lowest}" if lowest is not None else f"above {lower}" if lower is not None else ""
    if words and limit is not None and limit < COUNT_LIMIT:
        words += f" and below {limit}"
    if not words and _bound(metadata, "allow_inf_nan") is False:
        return "a number or none"
    return words


def _bound(metadata: Iterable[Any], name: str) -> Any:
    return next((getattr(each, name) for each in metadata if hasattr(each, name)), None)


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is tuple:
        return "whole numbers with commas between"
    if typing.get_origin(annotation) is types.UnionType:
        return "float or none"
    return annotation.__name__

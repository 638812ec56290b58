"""Reads TOML as people type it: whole recipes and the values of `--set`; what cannot be read is shown written right."""

from __future__ import annotations

import re
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from anybudget.errors import ConfigError, shorten
from anybudget.reading import UnreadableError, parse_toml

_LINE = re.compile(r"at line (\d+), column \d+\)$")
_ASSIGNMENT = re.compile(r"\s*([\w.\"'-]+)\s*=\s*(.*?)\s*$")
_QUOTES = ('"', "'")
_EXAMPLES = {
    "true or false": "true",
    "a whole number": "10",
    "a number": "0.1",
    "a table": "{epochs = 10}",
}
_BARE_NUMBER = re.compile(r"([+-]?)(\d*)[.,](\d*)")


def read_toml(text: str, source: object) -> dict[str, Any]:
    """The tables of a TOML document; `source` names it in errors.

    Raises:
        ConfigError: the text is no TOML; where the line says what was meant, the message has it written right.
    """
    try:
        return parse_toml(text)
    except UnreadableError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}{_advice(text, str(error))}") from None


def read_value(key: str, text: str, kind: Any) -> Any:
    """The value that stands behind `key=` on a command line.

    Args:
        key: the dotted key, for messages.
        text: what was typed.
        kind: the type of the key, or None where it is not known. A key that takes a text takes `text` as it stands,
            so that paths and numbers need no quotes; in quotes, or where it takes numbers, too, it is read as TOML.

    Raises:
        ConfigError: the key takes no text, or the text begins with a quote, and `text` is no TOML value.
    """
    text = text.strip()
    if _takes(kind, str) and not text.startswith(_QUOTES) and not (_takes_more(kind) and _is_toml(text)):
        return text
    try:
        found = parse_toml(f"value = {text}")
    except UnreadableError as error:
        if not error.syntax:
            raise ConfigError(str(error)) from None
        if kind is None:
            return text  # there is no such key, which is said about the recipe as a whole
        raise ConfigError(f"not a value as TOML writes it; {_way_out(key, text, kind)}") from None
    if set(found) != {"value"}:
        raise ConfigError("holds more than one value; repeat --set for every key")
    return found["value"]


def _way_out(key: str, text: str, kind: Any) -> str:
    """How to give the key a value that it takes, as close to `text` as can be."""
    bare = text.replace('"', "").replace("'", "")
    if _takes(kind, str):
        return f"leave the quotes out: --set {key}={shorten(bare)}"
    if not _takes(kind, list):
        right = corrected(text)
        if right and not right.startswith(_QUOTES):
            return f"write {key}={right}"
        return f"write {_word(kind)}, such as {key}={_EXAMPLES[_word(kind)]}"
    inner = bare.strip("[], ")
    texts = _takes(get_args(kind)[0], str)
    options = [corrected(f"[{inner}]") or ""]
    if not options[0] or (not texts and '"' in options[0]):
        options = ['["a", "b"]' if texts else "[1, 2]"]
    elif '"' in options[0] and "," in inner:
        options.append(f"[{_quoted(inner)}]")  # a comma may also belong to the text, as in a budget of two limits
    return "write " + " or ".join(f"--set '{key}={shorten(option)}'" for option in options)


def corrected(value: str) -> str | None:
    """How a value that is no TOML is written, where it is plain what was meant; None where it is not."""
    if value.lower() in ("true", "false"):
        return value.lower()
    whole = re.fullmatch(r"([+-]?)0*(\d[\d_]*),?", value)
    if whole:
        return f"{whole[1]}{whole[2]}"
    number = _BARE_NUMBER.fullmatch(value)
    if number and (number[2] or number[3]):
        return f"{number[1]}{number[2] or 0}.{number[3] or 0}"
    if value[:1] == '"' and value[-1:] == '"' and "\\" in value:
        return _path_texts(value[1:-1])
    if value[:1] == "[" and value[-1:] == "]":
        items = [item.strip() for item in value[1:-1].split(",")]
        bare = [item for item in items if item]
        if bare and not any(mark in value[1:-1] for mark in "\"'[]{}\\"):
            return f"[{', '.join(item if _is_toml(item) else _quoted(item) for item in bare)}]"
        return None
    if value and not any(mark in value for mark in "\"'[]{}#"):
        return _path_texts(value) if "\\" in value else _quoted(value)
    return None


def _path_texts(path: str) -> str:
    """A text with backslashes as TOML has it: in single quotes, which leave them alone, or with forward slashes."""
    forward = '"' + path.replace("\\\\", "/").replace("\\", "/") + '"'
    return forward if "'" in path else f"'{path}' or {forward}"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _is_toml(value: str) -> bool:
    try:
        return set(parse_toml(f"value = {value}")) == {"value"}
    except UnreadableError:
        return False


def _advice(text: str, message: str) -> str:
    """What to write instead of the line that a message of `tomllib` names; "" where that is not plain."""
    where = _LINE.search(message)
    lines = text.splitlines()
    if where is None or int(where[1]) > len(lines):
        return ""
    assignment = _ASSIGNMENT.match(lines[int(where[1]) - 1])
    right = assignment and corrected(assignment[2])
    if assignment is None or not right:
        return ""
    why = "; a backslash in double quotes begins an escape" if assignment[2][:1] == '"' else ""
    return f"{why}; write {shorten(assignment[1])} = {shorten(right, 300)}"


def _takes(kind: Any, wanted: type) -> bool:
    """Whether a value of the type `wanted` can be one of `kind`, an annotation."""
    if get_origin(kind) in (Union, UnionType):
        return any(_takes(part, wanted) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return any(isinstance(value, wanted) for value in get_args(kind))
    return kind is wanted or get_origin(kind) is wanted or (wanted is list and get_origin(kind) is tuple)


def _takes_more(kind: Any) -> bool:
    """Whether a value can be a number or a list."""
    return any(_takes(kind, other) for other in (bool, int, float, list))


def _word(kind: Any) -> str:
    """What a key of this type takes, in words."""
    words = {bool: "true or false", int: "a whole number", float: "a number", list: "a list", str: "a text"}
    return next((text for wanted, text in words.items() if _takes(kind, wanted)), "a table")

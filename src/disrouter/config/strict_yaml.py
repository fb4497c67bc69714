"""Strict YAML: files of bounded size, without repeated keys and without aliases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from disrouter.errors import ConfigError

__all__ = ["LARGEST_FILE", "read_mapping", "read_yaml", "refuse"]

LARGEST_FILE = 200_000
"""Bytes. Nobody writes a longer network by hand; more is a wrong file or an attack."""


def read_yaml(path: Path, *, kind: str) -> tuple[Any, list[str]]:
    """Return the content of a YAML file and every problem that does not stop it from being read.

    Args:
        path: The file.
        kind: What the file should be, for messages: "Network file".

    Raises:
        ConfigError: The file is missing, too large, not UTF-8 or not YAML.
    """
    where = f"{kind} '{path}'"
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise ConfigError(f"{where} does not exist.", hint="check the path") from None
    except IsADirectoryError:
        raise ConfigError(f"{where} is a folder, not a file.", hint="give the YAML file inside it") from None
    except OSError as exc:
        raise ConfigError(f"{where} cannot be read: {exc.strerror}.", hint="check the path and its rights") from exc
    if len(raw) > LARGEST_FILE:
        raise ConfigError(
            f"{where} is larger than {LARGEST_FILE:,} bytes.", hint="give a network file, not a model or a data set"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{where} is not text in UTF-8 (byte {exc.start}).", hint="save it as UTF-8") from exc
    try:
        loader = _StrictLoader(text)
        try:
            return loader.get_single_data(), loader.problems
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        line = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where} is not valid YAML{line}: {exc.problem}.", hint=exc.note) from exc
    except yaml.YAMLError as exc:
        reason = " ".join(str(exc).split())
        raise ConfigError(f"{where} is not valid YAML: {reason}.", hint="it must be plain text") from exc
    except ValueError as exc:  # a date or number that looks right and is not, say 2025-13-45
        raise ConfigError(f"{where} holds a value YAML cannot read: {exc}.", hint="put it in quotes") from exc
    except (AttributeError, KeyError, IndexError) as exc:  # a tag whose value PyYAML does not check, say !!bool maybe
        raise ConfigError(f"{where} has a tag (!!) that its value does not fit.", hint="leave tags out") from exc
    except RecursionError:
        raise ConfigError(f"{where} is nested too deeply.", hint="a network file needs four levels") from None


def read_mapping(path: Path, *, kind: str, needs: str) -> tuple[dict[Any, Any], list[str]]:
    """Return the content of a YAML file that must be a mapping; ``needs`` names its least keys, for the message.

    Raises:
        ConfigError: As :func:`read_yaml`, or the file holds something else.
    """
    content, problems = read_yaml(path, kind=kind)
    if not isinstance(content, dict):
        what = "is empty" if content is None else f"holds a {type(content).__name__}, not a mapping"
        raise ConfigError(f"{kind} '{path}' {what}.", hint=f"it needs at least the keys {needs}")
    return content, problems


def refuse(path: Path, problems: Sequence[str], *, kind: str) -> NoReturn:
    """Raise the error that tells all problems of a file at once."""
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise ConfigError(f"{kind} '{path}' has {count}:" + "".join(f"\n  {line}" for line in problems))


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, less the parts of YAML that hide mistakes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[str] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            # Nested aliases let a few lines stand for gigabytes.
            raise yaml.composer.ComposerError(
                None,
                None,
                "aliases (*name) are not allowed",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]  # PyYAML has no types here
                "write the value out where it is used",
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            line = key_node.start_mark.line + 1
            if key_node.value in seen:
                self.problems.append(
                    f"line {line}: key '{key_node.value}' is already given in line {seen[key_node.value]}; keep one"
                )
            seen.setdefault(key_node.value, line)
        return super().construct_mapping(node, deep)

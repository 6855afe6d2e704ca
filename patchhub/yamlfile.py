"""YAML records with the line of every value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from patchhub.fields import Where
from patchhub.recordfile import Parsed, listed, unparsable


class _Loader(yaml.SafeLoader):
    """The safe loader, which refuses a key that occurs twice (YAML's own rule, seldom kept)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"field {key.value!r} occurs twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(path: Path, text: str) -> Parsed:
    """Values and lines of a YAML file.

    Raises:
        InvalidInputError: E130.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise unparsable(path, line, error.problem or "not YAML") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise unparsable(path, None, str(error).splitlines()[0]) from error
    if node is None or value is None:
        return Parsed([], lambda where: 1)
    return Parsed(listed(value), lambda where: _line_of(node, where))


def _line_of(node: yaml.Node, where: Where) -> int:
    """Line of the value at ``where``, or of its nearest parent that exists."""
    line = node.start_mark.line
    for step in where:
        found = _enter(node, step)
        if found is None:
            break
        label, node = found
        line = label.start_mark.line
    return int(line) + 1


def _enter(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node that names item ``step`` and the item itself."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item, item
    if isinstance(node, yaml.MappingNode):
        for key, item in node.value:
            if key.value == str(step):
                return key, item
    return None

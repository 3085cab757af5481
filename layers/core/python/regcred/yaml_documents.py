"""Reads YAML that people write: declarations, definitions and secrets.

Errors name the line, and never a value. Pure.

Numbers and dates stay strings, because account IDs may have leading zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from regcred.errors import MalformedError

NODES_MAX = 100_000
"""The maximum number of values in a document, with its aliases expanded. Aliases of aliases grow without
bound."""

DEPTH_MAX = 50
"""The maximum depth of a document. The parser has its own limit: 1000 (libyaml), or Python's recursion
limit."""

_NO_TAGS = (
    "a value does not fit its tag; write plain values, without '!!', and put a value that begins with '!' in "
    "quotes"
)

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Recognizes only null, true, false and merge keys. All other plain values are strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag.rsplit(":", 1)[-1] in {"null", "bool", "merge"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class NotYamlError(MalformedError):
    """The text is not YAML, so it may be a plain value."""


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document of a file."""

    content: Any
    where: str
    """The file's name."""
    _node: Any = field(repr=False)

    def at(self, path: str = "") -> str:
        """``FILE: line N`` of a field such as ``spec.hosts[0]``, or of its nearest parent that exists."""
        node, rest = self._node, path
        line = node.start_mark.line
        while rest:
            found = _child(node, rest)
            if found is None:
                break
            line, node, rest = found
        return f"{self.where}: line {line + 1}"


def documents(text: str, where: str) -> Iterator[YamlDocument]:
    """The documents of a YAML or JSON text, without empty ones.

    Raises:
        NotYamlError: names the file and the line.
        MalformedError: a key occurs twice, or the document is too large or too deep. It names the file and
            the line.
    """
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            _check(node, where)
            content = loader.construct_document(node)
            if content is not None:
                yield YamlDocument(content, where, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        # A constructor's error quotes the tag: a password that begins with '!'.
        problem = _NO_TAGS if isinstance(error, yaml.constructor.ConstructorError) else error.problem
        raise NotYamlError(f"{where}: {at}{problem or 'is not YAML'}") from None
    except yaml.YAMLError:
        raise NotYamlError(f"{where}: contains characters that YAML does not allow") from None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        # The errors of PyYAML's constructors for a tag that does not fit its value.
        raise NotYamlError(f"{where}: {_NO_TAGS}") from None


def _check(root: Any, where: str) -> None:
    left = [(root, 0)]
    seen = 0
    while left:
        node, depth = left.pop()
        seen += 1
        if depth > DEPTH_MAX:
            line = node.start_mark.line + 1
            raise MalformedError(f"{where}: line {line}: is nested more than {DEPTH_MAX} levels deep")
        if seen > NODES_MAX:
            raise MalformedError(
                f"{where}: line {root.start_mark.line + 1}: the document is too large; split it"
            )
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in names:
                        line = key.start_mark.line + 1
                        raise MalformedError(
                            f"{where}: line {line}: {key.value[:80]!r} appears twice; remove one"
                        )
                    names.add(key.value)
                left.append((value, depth + 1))
        elif isinstance(node, yaml.SequenceNode):
            left += [(value, depth + 1) for value in node.value]


def _child(node: Any, path: str) -> tuple[int, Any, str] | None:
    """Follow the first step of a path. Return the line, the node, and the rest of the path."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name and (path == name or path.startswith((f"{name}.", f"{name}["))):
                return key.start_mark.line, value, path[len(name) :].lstrip(".")
    if isinstance(node, yaml.SequenceNode):
        number, _, rest = path.lstrip("[").partition("]" if path.startswith("[") else ".")
        if number.isdecimal() and int(number) < len(node.value):
            value = node.value[int(number)]
            return value.start_mark.line, value, rest.lstrip(".")
    return None

"""What can be extended: a file in a folder of ours, or a module of another distribution, makes one.

Names come from file names and from the entry points of installed distributions; nothing is imported
until it is asked for by name, so a plugin that is broken stands in nobody's way but its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Generic, TypeVar, cast

from patchhub.errors import InvalidInputError, NotFoundError

T = TypeVar("T")

Faults = Callable[[object, str], Iterator[str]]
"""Yields what an object lacks to be one of ours under a name."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """What a distribution says it brings; known without importing it.

    Attributes:
        name: The name it brings.
        module: The module behind the name.
        distribution: Name of the distribution that was installed.
        version: Its version.
        summary: Its one line about itself.
        fault: Why it cannot be used, if that shows already; what only importing shows is not here.
    """

    name: str
    module: str
    distribution: str
    version: str
    summary: str
    fault: str | None


@dataclass(frozen=True, slots=True)
class Catalog(Generic[T]):
    """The things of one sort that there are.

    Attributes:
        sort: What one is called, in the singular.
        package: Our own package; a module or package in it is one, unless it begins with ``_``.
        directory: Where that package lies.
        group: Entry-point group; a value names a module.
        attribute: What the module calls the thing.
        missing: Error code for a name that nobody brings.
        faults: Imported and called once a plugin is loaded.
        reserved: Words that nobody's name may be, and what they stand for.
    """

    sort: str
    package: str
    directory: Path
    group: str
    attribute: str
    missing: str
    faults: Faults
    reserved: Mapping[str, str] = field(default_factory=dict)

    def own(self) -> tuple[str, ...]:
        """Names of ours, sorted."""
        files = (
            path
            for path in self.directory.iterdir()
            if path.suffix == ".py" or (path / "__init__.py").is_file()
        )
        return tuple(sorted(path.stem for path in files if not path.name.startswith("_")))

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted({*self.own(), *self._points()} - self.reserved.keys()))

    def plugins(self) -> tuple[Plugin, ...]:
        """All plugins, also those that cannot be used, by name."""
        own = self.own()
        return tuple(
            _described(point, self._fault(points, own))
            for _, points in sorted(self._points().items())
            for point in points
        )

    def plugin(self, name: str) -> Plugin | None:
        """The plugin that brings a name; None for a name of ours."""
        if name in self.own():
            return None
        return next((plugin for plugin in self.plugins() if plugin.name == name), None)

    def load(self, name: str) -> T:
        """The thing called ``name``.

        Raises:
            NotFoundError: `missing`, nobody brings it.
            InvalidInputError: E153, the plugin that does is broken.
        """
        own = self.own()
        if name in self.reserved:
            raise self._unknown(name)
        if name in own:
            return cast(T, getattr(import_module(f"{self.package}.{name}"), self.attribute))
        points = self._points().get(name)
        if points is None:
            raise self._unknown(name)
        fault = self._fault(points, own)
        if fault is not None:
            raise self._broken(points[0], "a name that nobody else brings", fault)
        return cast(T, self._loaded(points[0]))

    def _loaded(self, point: EntryPoint) -> object:
        try:
            module = point.load()
        except Exception as error:  # a foreign module may raise anything while it is imported
            found = f"{type(error).__name__}: {error}"
            raise self._broken(point, f"module {point.value} to be importable", found) from error
        there = getattr(module, self.attribute, None)
        if there is None:
            found = f"{point.value} without it"
            raise self._broken(point, f"a module with {self.attribute}", found)
        faults = tuple(self.faults(there, point.name))
        if faults:
            raise self._broken(point, f"the contract of a {self.sort}", "; ".join(faults))
        return there

    def _points(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            found.setdefault(point.name, []).append(point)
        return found

    def _fault(self, points: list[EntryPoint], own: tuple[str, ...]) -> str | None:
        if points[0].name in self.reserved:
            return "the name is taken: " + self.reserved[points[0].name]
        if points[0].name in own:
            return f"PatchHub has a {self.sort} of that name, which is the one used"
        if len(points) > 1:
            brought = sorted(_described(point, None).distribution for point in points)
            return f"brought by {' and by '.join(brought)}"
        return None

    def _unknown(self, name: str) -> NotFoundError:
        known = self.names()
        near = get_close_matches(name, known, n=1)
        return NotFoundError(
            self.missing,
            f"there is no {self.sort} {name!r}",
            expected=", ".join(known),
            found=name,
            hint=self.reserved.get(name, f"did you mean {near[0]}?" if near else None),
        )

    def _broken(self, point: EntryPoint, expected: str, found: str) -> InvalidInputError:
        plugin = _described(point, None)
        return InvalidInputError(
            "E153",
            f"the plugin behind the {self.sort} {point.name!r} cannot be used",
            expected=expected,
            found=found,
            hint=f"it is brought by {plugin.distribution} {plugin.version}".rstrip(),
            plugin=plugin.distribution,
        )


def _described(point: EntryPoint, fault: str | None) -> Plugin:
    dist = point.dist
    if dist is None:
        return Plugin(point.name, point.value, "an unknown distribution", "", "", fault)
    summary = str(dist.metadata.json.get("summary", ""))
    return Plugin(point.name, point.value, dist.name, dist.version, summary, fault)

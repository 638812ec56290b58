"""`Registry`: classes by name, built in, from installed packages, or registered by whoever uses the library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from anybudget.errors import ConfigError, reason, shown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class UnknownNameError(ConfigError):
    """A registry has no such name."""


class Registry(Mapping[str, T]):
    """Things by name; nothing is imported before it is used.

    A name is known in one of three ways: it is built in, an installed package has an entry point of that name in the
    registry's group, or `register` was called. Built-in names come first, then those of packages, then registered ones.

    Example:
        >>> class Circle: name = "circle"
        >>> SHAPES = Registry[type]("shape", "anybudget.shapes", {})
        >>> SHAPES.register(Circle) is SHAPES["circle"]
        True
        >>> list(SHAPES)
        ['circle']

    Args:
        kind: what messages call one of the things, such as "search space".
        group: of the entry points.
        builtin: where each built-in thing is, as `module:attribute`.
        settings: where the `settings_type` of a built-in thing is, None for one that has none; of those whose modules
            take long to import, so that a recipe can be read without.
    """

    def __init__(
        self, kind: str, group: str, builtin: Mapping[str, str], settings: Mapping[str, str | None] | None = None
    ) -> None:
        self.kind = kind
        self.group = group
        self._builtin, self._settings = dict(builtin), dict(settings or {})
        self._installed: dict[str, EntryPoint] | None = None
        self._loaded: dict[str, T] = {}

    @property
    def builtin(self) -> tuple[str, ...]:
        """The names of what is built in."""
        return tuple(self._builtin)

    @overload
    def register(self, item: T, *, name: str | None = None) -> T: ...

    @overload
    def register(self, item: None = None, *, name: str | None = None) -> Callable[[T], T]: ...

    def register(self, item: T | None = None, *, name: str | None = None) -> T | Callable[[T], T]:
        """Make `item` known, as a call, as `@REGISTRY.register`, or as `@REGISTRY.register(name="mine")`.

        Args:
            item: what is registered; it is returned.
            name: by which recipes and commands know it; the item's own `name` by default.

        Raises:
            ConfigError: it has no name, or something else has the same.
        """
        if item is None:
            return lambda item: self.register(item, name=name)
        name = getattr(item, "name", None) if name is None else name
        if not isinstance(name, str) or not name:
            raise ConfigError(
                f'{_place(item)}: a {self.kind} needs a name to be registered; set name = "…" in the class, or give '
                "register(name=…)"
            )
        # A package may both register its class and name it in an entry point.
        if name in self and self._where(name) != _place(item):
            raise ConfigError(
                f"{_place(item)}: there is a {self.kind} {name!r} already ({self._where(name)}); take another name"
            )
        self._loaded[name] = item
        return item

    def unknown(self, name: object) -> str:
        """What a message says of a name that is not known: what was probably meant, and which names there are."""
        close = get_close_matches(str(name), self, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown {self.kind} {shown(name)}; {hint}known are {', '.join(self)}"

    def __getitem__(self, name: str) -> T:
        """The thing of this name, imported now if it has not been used before.

        Raises:
            UnknownNameError: the name is not known.
            ConfigError: what is installed under it cannot be imported.
        """
        if name not in self._loaded:
            if name not in self:
                raise UnknownNameError(self.unknown(name))
            found = self._load(name)
            self._loaded.setdefault(name, found)  # unless its module has registered it
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in self._builtin or name in self._packages()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._builtin, *self._packages(), *self._loaded)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def get(self, name: str, default: Any = None) -> Any:
        """The thing of this name, or `default` where the name is not known."""
        try:
            return self[name]
        except UnknownNameError:
            return default

    def settings_of(self, name: str) -> Any:
        """The `settings_type` of the thing of this name, None if it has none.

        Raises:
            UnknownNameError: the name is not known.
            ConfigError: what is installed under it cannot be imported.
        """
        if name in self._settings:
            where = self._settings[name]
            return where and _imported(where)
        return getattr(self[name], "settings_type", None)

    def _load(self, name: str) -> T:
        if name in self._builtin:
            return cast(T, _imported(self._builtin[name]))
        point = self._packages()[name]
        try:
            return cast(T, point.load())
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"{self.kind} {name!r}: the installed package {_package(point)} says it is {point.value}, which cannot "
                f"be imported: {reason(error)}; mend or uninstall that package"
            ) from error

    def _packages(self) -> dict[str, EntryPoint]:
        """The entry points of installed packages, read once.

        Raises:
            ConfigError: a package uses a name that is built in, or that of another package.
        """
        if self._installed is None:
            from importlib.metadata import entry_points  # which takes a quarter of the time in which help appears

            found: dict[str, EntryPoint] = {}
            for point in entry_points(group=self.group):
                other = self._builtin.get(point.name) or (found[point.name].value if point.name in found else None)
                if other not in (None, point.value):
                    raise ConfigError(
                        f"{self.kind} {point.name!r}: the installed package {_package(point)} uses this name for "
                        f"{point.value}, but it is that of {other}; uninstall one of them"
                    )
                found[point.name] = point
            self._installed = found
        return self._installed

    def _where(self, name: str) -> str:
        """Where a known thing is, as `module:attribute`."""
        if name in self._loaded:
            return _place(self._loaded[name])
        return self._builtin.get(name) or self._packages()[name].value


def _imported(where: str) -> Any:
    """What is at `module:attribute`."""
    module, _, attribute = where.partition(":")
    return getattr(import_module(module), attribute)


def _place(item: object) -> str:
    """Where something is defined, as `module:attribute`."""
    return f"{getattr(item, '__module__', '')}:{getattr(item, '__qualname__', shown(item))}"


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "of unknown name"

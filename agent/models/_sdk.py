"""Importing the `openai` package without paying for what is never used.

What is paid for nothing, as `python -X importtime -c 'import openai'` shows: more than half of the import. The front
page pulls in the clients for Azure and Bedrock and the module-level API of old; `openai.lib` the parsing of typed
answers; `openai.types` and its sub-packages some four hundred pydantic models for images, assistants, vector stores
and the Responses API. Hermes needs the client class and the errors.

So the packages in `_LAZY` are imported without running their body: a submodule needs its package's `__path__` and
nothing else. The body runs when somebody asks the package for a name that no submodule of it answers to, so that to
everybody else the package behaves as ever.
"""

import gc
import importlib
import importlib.machinery
import importlib.util
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader

_LAZY = frozenset(
    {
        "openai",
        "openai.lib",
        "openai.types",
        "openai.types.chat",
        "openai.types.responses",
        "openai.types.shared",
        "openai.types.shared_params",
    }
)

_NEEDED = ("openai._client", "openai._streaming", "openai._exceptions", "httpcore2")
"""What every request needs, imported while the packages are lazy."""

_HOMES: Mapping[str, Mapping[str, str]] = {
    "openai": {
        "OpenAI": "_client",
        "Stream": "_streaming",
        "Timeout": "_types",
        "Omit": "_types",
        "omit": "_types",
        "OpenAIError": "_exceptions",
        "APIError": "_exceptions",
        "APIStatusError": "_exceptions",
        "APIConnectionError": "_exceptions",
        "APITimeoutError": "_exceptions",
    }
}
"""Where names live that are wanted in every run; a wrong line costs speed, not correctness."""

_lock = threading.RLock()


def load() -> ModuleType:
    """The `openai` package. Any thread may call this, at any time; the first one pays."""
    with _lock:
        if (module := sys.modules.get("openai")) is not None:
            return module
        with _lazy_packages(), _no_collection():
            module = importlib.import_module("openai")
            for name in _NEEDED:
                with suppress(ModuleNotFoundError):
                    importlib.import_module(name)
            return module


@contextmanager
def _lazy_packages() -> Iterator[None]:
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextmanager
def _no_collection() -> Iterator[None]:
    # An import makes a hundred thousand objects that stay; looking through them for garbage finds none.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Finder:
    """Finds the lazy packages as the usual finder does, and gives them a loader that waits."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _LAZY:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None and spec.submodule_search_locations is not None:
            # A loader in all but its base class: `importlib.abc` takes 30 ms to import.
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    def __init__(self, real: "Loader") -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _LazyPackage(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["_hermes_loader"] = self._real


class _LazyPackage(ModuleType):
    """A package whose body runs when it is asked for a name that is not there yet."""

    def __getattr__(self, name: str) -> Any:
        if name in ("__path__", "__wrapped__"):
            raise AttributeError(name)
        with _lock:
            if name in self.__dict__:
                return self.__dict__[name]
            if "_hermes_loader" not in self.__dict__:
                return self._from_body(name)
            if (value := self._from_home(name)) is not None:
                return value
            self._run_body()
        return getattr(self, name)

    def _from_home(self, name: str) -> Any:
        """A submodule, or the value from the submodule it is defined in; None when there is no such thing."""
        home = _HOMES.get(self.__name__, {}).get(name) or _snake_case(name)
        if importlib.util.find_spec(f"{self.__name__}.{home}") is None:
            return None
        module = importlib.import_module(f"{self.__name__}.{home}")
        value = module if home == name else getattr(module, name, None)
        if value is not None:
            setattr(self, name, value)
        return value

    def _run_body(self) -> None:
        loader: Loader = self.__dict__.pop("_hermes_loader")
        # From here on this is the module its author wrote, with a `__getattr__` of its own if it defines one.
        if self.__spec__ is not None:
            self.__spec__.loader = self.__loader__ = loader
        loader.exec_module(self)

    def _from_body(self, name: str) -> Any:
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()

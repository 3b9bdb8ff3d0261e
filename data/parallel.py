"""How work is spread over processes, whoever owns them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol


class ParallelMap(Protocol):
    """Applies a function to many items and yields the results in order, as they are needed."""

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]: ...

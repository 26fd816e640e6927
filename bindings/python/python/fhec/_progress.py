"""Callbacks that hear how far work is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import UsageError, missing

Callback = Callable[[int, int, str], Any]
"""Called with what is done, how much there is (0 where that is not known), and what it is at."""
Progress = Callback | bool | None
"""A callback, or True for a bar of tqdm."""


@contextmanager
def listening(progress: Progress, what: str) -> Iterator[Callback | None]:
    """The callback that ``progress`` asks for, in whose bar stands ``what``."""
    if progress is None or progress is False:
        yield None
    elif progress is True:
        try:
            from tqdm.auto import tqdm
        except ImportError as e:
            raise missing("tqdm", "progress", "a progress bar") from e
        with tqdm(desc=what, total=None) as bar:

            def show(done: int, total: int, at: str) -> None:
                bar.total = total or None
                bar.set_postfix_str(at, refresh=False)
                bar.update(done - bar.n)

            yield show
            if bar.total:
                bar.update(bar.total - bar.n)
    elif callable(progress):
        yield progress
    else:
        raise UsageError(f"progress={progress!r}", help="give a function of (done, total, what), or True for a bar of tqdm")

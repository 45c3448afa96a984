"""Source `pydocs`: docstrings of installed packages, read in parallel processes."""

import hashlib
import importlib.util
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.metadata import packages_distributions, version
from itertools import islice
from pathlib import Path

from ...configs.errors import UserError, nearest
from ...configs.schema_corpus import PydocsSource
from ..documents import Document, Wanted
from .docstrings import read_file

FILES_PER_TASK = 16

Module = tuple[Path, str]  # file, dotted module name


def read_pydocs(source: PydocsSource, wanted: Wanted) -> Iterator[Document]:
    """Yields docstrings topic by topic; the order does not depend on the number of workers.

    Within a topic the modules come in the order of a hash of their names, so that a capped topic
    is a sample of all its packages rather than the start of the alphabet.
    """
    workers = source.workers or os.cpu_count() or 1
    if workers == 1:
        yield from _read_alone(source, wanted)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    try:
        with _interrupts_ignored():  # inherited: Ctrl-C is for the parent, which then ends them
            for _ in range(workers):
                pool.submit(os.getpid)
        yield from _read_in_pool(source, wanted, pool, window=2 * workers)
    except BrokenProcessPool as error:
        raise UserError(
            "source=pydocs: a reading process was ended from outside (out of memory?); "
            "set source.workers=1"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def fingerprint_pydocs(source: PydocsSource) -> dict[str, str]:
    """Returns the versions of the packages that are read."""
    distributions = packages_distributions()
    packages = {package for names in source.fields.values() for package in names}
    for package in packages:
        package_folder(package)
    return {
        f"package {name}": version(name)
        for package in sorted(packages)
        for name in sorted(set(distributions.get(package, [])))
    }


def package_folder(package: str) -> Path:
    """Finds an installed package's folder without importing it.

    Raises:
        UserError: there is no such package in this environment.
    """
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        hint = nearest(package, packages_distributions())
        raise UserError(f"source.fields: package {package!r} is not installed here{hint}")
    return Path(next(iter(spec.submodule_search_locations)))


def list_modules(packages: list[str], skip: list[str]) -> list[Module]:
    """Lists the source files of packages, in the order of a hash of the module name."""
    modules: dict[str, Path] = {}
    for package in packages:
        folder = package_folder(package)
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            if not set(parts) & set(skip):
                modules.setdefault(".".join(p for p in parts if p != "__init__"), path)
    return [(modules[name], name) for name in sorted(modules, key=_order)]


def _order(module: str) -> bytes:
    return hashlib.blake2b(module.encode(), digest_size=8).digest()


def _tasks(source: PydocsSource, wanted: Wanted) -> Iterator[tuple[str, list[Module]]]:
    """Yields (topic, files) while the topic still wants documents."""
    for topic, packages in source.fields.items():
        if not wanted(topic):
            continue
        modules = list_modules(packages, source.skip)
        for start in range(0, len(modules), FILES_PER_TASK):
            if not wanted(topic):
                break
            yield topic, modules[start : start + FILES_PER_TASK]


def _read_alone(source: PydocsSource, wanted: Wanted) -> Iterator[Document]:
    for topic, modules in _tasks(source, wanted):
        yield from _documents(topic, read_modules(modules))


def _read_in_pool(
    source: PydocsSource, wanted: Wanted, pool: ProcessPoolExecutor, *, window: int
) -> Iterator[Document]:
    """Keeps `window` tasks in flight and yields their results in the order of submission.

    Results that are not wanted any more when their turn comes are dropped: they would not have
    been read by a single process.
    """
    tasks = _tasks(source, wanted)
    waiting: deque[tuple[str, Future[list[tuple[str, str, str]]]]] = deque()
    while True:
        for topic, modules in islice(tasks, window - len(waiting)):
            waiting.append((topic, pool.submit(read_modules, modules)))
        if not waiting:
            return
        topic, future = waiting.popleft()
        if wanted(topic):
            yield from _documents(topic, future.result())


def read_modules(modules: list[Module]) -> list[tuple[str, str, str]]:
    """Reads files in a worker: (module, qualified name, docstring)."""
    return [(name, *found) for path, name in modules for found in read_file(path, name)]


def _documents(topic: str, found: list[tuple[str, str, str]]) -> Iterator[Document]:
    for module, name, text in found:
        yield Document(name, text, topic, None, module.partition(".")[0], module)

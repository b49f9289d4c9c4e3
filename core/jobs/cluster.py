"""Who trains: threads of this process, each starting a process, or the workers of a Dask cluster."""

import concurrent.futures
import contextlib
import importlib
from collections.abc import Iterator

from core import settings
from core.errors import KnownError
from core.jobs.processes import train_and_wait

_CONNECT_SECONDS = 10


@contextlib.contextmanager
def executor_for(jobs: int) -> Iterator[concurrent.futures.Executor]:
    """Threads of this process, or the workers of the Dask cluster that the environment names."""
    address = settings.scheduler()
    if not address:
        with concurrent.futures.ThreadPoolExecutor(jobs) as threads:
            yield threads
        return
    try:
        import distributed
    except ImportError:
        raise KnownError(
            f"{settings.SCHEDULER} names a Dask scheduler, but the package that speaks to it is missing. "
            f"Install it (pip install distributed), or unset {settings.SCHEDULER} to train on this machine."
        ) from None
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise KnownError(
            f"There is no Dask scheduler at {settings.SCHEDULER}={address}: {error}. Start one "
            "(python -m dask scheduler) and correct the address, such as tcp://host:8786, or unset "
            f"{settings.SCHEDULER} to train on this machine."
        ) from None
    # pure: the same call may be needed again after a failure, and its result must not come from memory.
    with client, client.get_executor(pure=False) as workers:
        try:
            # A worker that cannot read a task dies of it without a word.
            client.run(importlib.import_module, train_and_wait.__module__)
        except ImportError as error:
            raise KnownError(
                f"The Dask workers at {address} cannot import this project: {error}. Start them in its folder, with "
                f"its packages installed: python -m dask worker {address} --nthreads=1"
            ) from None
        yield workers

"""The web servers that torchvision knows for a data set."""

from __future__ import annotations

import queue
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from denoiselab.data.collection import Collection, SourceError, published, unpack

PATIENCE = 10.0  # seconds that a server has to answer, and to go on after a pause


def fetch_files(collection: Collection, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(name, verified content) of each file, from the mirrors in the order in which they answer.

    A file without a known SHA-256 comes with its archive, as (name.gz, archive), before it.
    Raises SourceError with every mirror's reason when none of them has the rest.
    """
    waiting, reasons = list(names), dict[str, str]()
    for mirror in _answering(published(collection)[0], f"{names[0]}.gz", reasons):
        try:
            while waiting:
                archive = _request(f"{mirror}{waiting[0]}.gz", "GET")
                content = unpack(collection, waiting[0], archive)
                if waiting[0] not in collection.sha256:
                    yield f"{waiting[0]}.gz", archive
                yield waiting[0], content
                del waiting[0]
            return
        except (OSError, HTTPException, SourceError) as error:
            reasons[mirror] = f"{waiting[0]}.gz: {_reason(error)}"
    raise SourceError(", ".join(f"{urlsplit(mirror).netloc}: {reason}" for mirror, reason in reasons.items()))


def _answering(mirrors: Sequence[str], probe: str, reasons: dict[str, str]) -> Iterator[str]:
    """The mirrors that answer, in the order in which they do; why the others do not is put into reasons.

    Each is asked once, all at the same time, on threads that nobody joins: a resolver can take longer to fail
    on a name than any timeout that a socket knows of.
    """
    answers: queue.Queue[tuple[str, str | None]] = queue.Queue()

    def ask(mirror: str) -> None:
        try:
            _request(mirror + probe, "HEAD")
            answers.put((mirror, None))
        except (OSError, HTTPException) as error:
            answers.put((mirror, _reason(error)))

    for mirror in mirrors:
        reasons[mirror] = f"no answer in {PATIENCE:.0f} s"
        threading.Thread(target=ask, args=(mirror,), daemon=True).start()
    deadline = time.monotonic() + PATIENCE
    for _ in mirrors:
        try:
            # A mirror that answered while another was being read is in the queue, however late it is by now.
            mirror, reason = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return
        if reason is None:
            yield mirror
        else:
            reasons[mirror] = reason


def _request(url: str, method: str) -> bytes:
    request = urllib.request.Request(url, method=method, headers={"User-Agent": "denoiselab"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return bytes(response.read())


def _reason(error: Exception) -> str:
    if isinstance(error, URLError) and not isinstance(error, HTTPError):
        error = error.reason if isinstance(error.reason, Exception) else error
    return str(error) or type(error).__name__

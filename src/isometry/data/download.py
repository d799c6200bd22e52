"""Fetch one file: resumed where it stopped, checked by its digest, renamed only when right."""

import contextlib
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: a digest that does not match is then the only guard
    fcntl = None

Progress = Callable[[int, int], None]
"""Called with the bytes on disk and the bytes expected (0 where the server does not say)."""

_CHUNK = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte


def md5_of(path: Path) -> str:
    """Return the hexadecimal MD5 digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check_md5(path: Path, expected: str, *, advice: str) -> None:
    """Refuse a file whose content is not the expected one.

    Raises:
        ValueError: If the MD5 digest differs.
    """
    got = md5_of(path)
    if got != expected:
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) has MD5 {got}; expected {expected}: it is "
            f"truncated or corrupt. {advice}"
        )


def fetch(url: str, path: Path, *, md5: str, progress: Progress | None = None) -> Path:
    """Download ``url`` to ``path``, going on from ``path`` + ``.part`` if that is there.

    Raises:
        ValueError: If ``url`` is not http(s), or the content has another digest.
        OSError: If the folder cannot be written or the connection fails; what came is kept.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"`url` is {url!r}; expected an address that starts with https://.")
    if path.exists():
        check_md5(path, md5, advice="Delete it and download again.")
        return path
    part = path.with_name(path.name + ".part")
    with _locked(part) as stream:
        resumed = stream.seek(0, os.SEEK_END) > 0
        _receive(url, stream, progress)
        if resumed and md5_of(part) != md5:  # the old part was bad, or the file has changed
            stream.truncate(0)
            _receive(url, stream, progress)
        try:
            check_md5(part, md5, advice=f"Nothing was kept; check that {url} is the right address.")
        except ValueError:
            part.unlink()
            raise
        part.replace(path)
    return path


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open the partial file for appending, for this process alone.

    Raises:
        OSError: If it cannot be opened, or another process has it.
    """
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        stream = part.open("ab")
    except OSError as err:
        raise OSError(
            f"{part} cannot be written ({err.strerror}); choose another folder by `data_dir`."
        ) from err
    with stream:
        try:
            if fcntl is not None:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OSError(
                f"{part} is being written by another process; wait for it to finish."
            ) from None
        yield stream


def _receive(url: str, stream: BinaryIO, progress: Progress | None) -> None:
    """Append what is missing; start again at zero where the server cannot resume.

    Raises:
        OSError: If the server refuses or the connection ends early.
    """
    have = stream.seek(0, os.SEEK_END)
    headers = {"User-Agent": "isometry"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            _append(response, stream, progress)
    except urllib.error.HTTPError as err:
        err.close()
        if err.code != 416:  # 416: the part already is at least as long as the file
            raise OSError(f"{url} answered {err.code} {err.reason}; try again later.") from err
    except (OSError, HTTPException) as err:
        reason = getattr(err, "reason", err)
        raise OSError(
            f"{url} could not be read ({reason}); {stream.tell():,} bytes are kept, run it again "
            "to resume."
        ) from err


def _append(response: HTTPResponse, stream: BinaryIO, progress: Progress | None) -> None:
    have = stream.tell()
    if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        stream.truncate(0)
        have = 0
    length = int(response.headers.get("Content-Length") or 0)
    total = have + length if length else 0
    while chunk := response.read(_CHUNK):
        stream.write(chunk)
        have += len(chunk)
        if progress is not None:
            progress(have, total)
    stream.flush()
    if have < total:
        raise ConnectionError(f"it ended after {have:,} of {total:,} bytes")

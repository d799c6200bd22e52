"""Fetch one file: resumed where it stopped, checked by its digest, renamed only when right.

A server is believed in nothing: its redirections stay on http(s), its lengths may be nonsense, and
what it sends past the file's known size is not received.
"""

import contextlib
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from io import FileIO
from pathlib import Path
from typing import Any

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


def fetch(url: str, path: Path, *, md5: str, size: int, progress: Progress | None = None) -> Path:
    """Download ``url`` to ``path``, going on from ``path`` + ``.part`` if that is there.

    Args:
        url: Address; redirections are followed to http and https only.
        path: File to make.
        md5: Digest of the content.
        size: Bytes of the content; a server that sends more is cut off there.
        progress: Called with the bytes present and the bytes expected.

    Returns:
        The path.

    Raises:
        ValueError: If ``url`` is not http(s), or the content is longer or has another digest.
        OSError: If the folder cannot be written or the connection fails; what came is kept.
    """
    given: object = url
    if not isinstance(given, str) or not given.lower().startswith(("http://", "https://")):
        raise ValueError(f"`url` is {given!r}; expected an address that starts with https://.")
    if path.exists():
        check_md5(path, md5, advice="Delete it and download again.")
        return path
    part = path.with_name(path.name + ".part")
    with _locked(part) as stream:
        resumed = 0 < stream.seek(0, os.SEEK_END) <= size
        if not resumed:  # a part that is longer than the file is none of it
            stream.truncate(0)
        try:
            _receive(url, stream, size, progress)
            if resumed and md5_of(part) != md5:  # the old part was bad, or the file has changed
                stream.truncate(0)
                _receive(url, stream, size, progress)
            check_md5(part, md5, advice=f"Nothing was kept; check that {url} is the right address.")
        except ValueError:
            part.unlink()
            raise
        part.replace(path)
    return path


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follow a redirection to http and https only: the standard one takes ftp as well."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the next request.

        Raises:
            ConnectionError: If the server points elsewhere.
        """
        if not newurl.lower().startswith(("http://", "https://")):
            fp.close()
            raise ConnectionError(f"it points to {newurl[:100]!r}, which is not http(s)")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[FileIO]:
    """Open the partial file for appending, for this process alone.

    Raises:
        OSError: If it cannot be opened, or another process has it.
    """
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        stream = part.open("ab", buffering=0)  # a full disk is met by write, not by close
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


def _receive(url: str, stream: FileIO, size: int, progress: Progress | None) -> None:
    """Append what is missing; start again at zero where the server cannot resume.

    Raises:
        _TooLongError: If more comes than the file has.
        OSError: If the server refuses, the connection ends early or the disk is full.
    """
    have = stream.seek(0, os.SEEK_END)
    headers = {"User-Agent": "isometry"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.build_opener(_WebOnly).open(request, timeout=_TIMEOUT) as response:
            _append(response, stream, size, progress)
    except urllib.error.HTTPError as err:
        err.close()
        if err.code != 416:  # 416: the part already is at least as long as the file
            advice = "check the address" if err.code < 500 else "try again later"
            raise OSError(f"{url} answered {err.code} {err.reason}; {advice}.") from err
    except _DiskError as err:
        raise OSError(
            err.errno,
            f"{stream.name} cannot be written ({err.strerror}); {_kept(stream)} bytes are kept, "
            "make room or choose another folder by `data_dir`, and run it again to resume",
        ) from err
    except _TooLongError:
        raise
    except (OSError, HTTPException, ValueError) as err:  # ValueError: an address that is none
        reason = getattr(err, "reason", None) or str(err) or type(err).__name__
        raise OSError(
            f"{url} could not be read ({reason}); {_kept(stream)} bytes are kept, run it again "
            "to resume."
        ) from err


class _TooLongError(ValueError):
    """More came than the file has."""


class _DiskError(OSError):
    """An error of the file that is written, told from one of the connection."""


def _append(response: HTTPResponse, stream: FileIO, size: int, progress: Progress | None) -> None:
    have = stream.tell()
    if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        stream.truncate(0)
        have = 0
    length = _length(response)
    total = have + length if length else 0
    while chunk := response.read(_CHUNK):
        have += len(chunk)
        if max(have, total) > size:
            raise _TooLongError(
                f"`url` is {response.url!r}, which sends {max(have, total):,} bytes or more; "
                f"expected the file's {size:,}. Nothing was kept; check that it is the right "
                "address."
            )
        _write(stream, chunk)
        if progress is not None:
            progress(have, total)
    if have < total:
        raise ConnectionError(f"it ended after {have:,} of {total:,} bytes")


def _write(stream: FileIO, chunk: bytes) -> None:
    """Write all of it: an unbuffered file may take a part at a time.

    Raises:
        _DiskError: If the disk does not take it.
    """
    try:
        while chunk:
            chunk = chunk[stream.write(chunk) or 0 :]
    except OSError as err:
        raise _DiskError(err.errno, err.strerror) from err


def _length(response: HTTPResponse) -> int:
    """Return what the server says is left, 0 where it says nothing sensible."""
    text = (response.headers.get("Content-Length") or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _kept(stream: FileIO) -> str:
    return f"{os.fstat(stream.fileno()).st_size:,}"

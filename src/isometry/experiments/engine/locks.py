"""Who is doing this run? A claim is a small file with its owner's host, process and heartbeat.

A contender writes a claim under a name of its own, then looks at the others: it owns the run if
every other claim is dead. Two contenders can both withdraw, but never both own, whatever the
order of their steps; no lock of the file system is needed, only an atomic rename. A claim is dead
if its process is gone (same host), if its heartbeat stopped (another host), or if it does not name
an owner: claims are renamed into place when they are whole, so half of one is a power cut's.
"""

import json
import os
import platform
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120.0
"""Seconds without a heartbeat after which a claim from another host is dead."""
_BEAT = 10.0


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[Path | None]:
    """Claim ``name`` for the time of the ``with`` block.

    Args:
        folder: Where the claims are; it must exist and be shared by all contenders.
        name: What is claimed, without a dot.

    Yields:
        The claim's file, which exists as long as the claim holds, or ``None`` if somebody else
        who is alive has a claim.

    Raises:
        OSError: If the folder cannot be written.
    """
    mine = folder / f"{name}.{uuid.uuid4().hex}"
    _write(mine)
    stop = threading.Event()
    try:
        others = [other for other in folder.glob(f"{name}.*") if other != mine]
        if any(_alive(other, mine) for other in others):
            yield None
            return
        for dead in [*others, *(d for d in folder.glob("-*") if not _beats(d, mine))]:
            _remove(dead)
        threading.Thread(target=_beat, args=(mine, stop), daemon=True).start()
        yield mine
    finally:
        stop.set()
        mine.unlink(missing_ok=True)


def _write(path: Path) -> None:
    # Whoever is killed between the two steps leaves a draft, which the next owner removes.
    draft = path.with_name(f"-{path.name}")
    owner = {"host": _host(), "pid": os.getpid(), "start": _start(os.getpid())}
    try:
        draft.write_text(json.dumps(owner), encoding="utf-8")
        os.replace(draft, path)
    except OSError:  # a full disk makes empty files
        draft.unlink(missing_ok=True)
        raise


def _remove(claim: Path) -> None:
    """Remove a dead claim; a foreign folder of its name as well."""
    if claim.is_dir() and not claim.is_symlink():
        shutil.rmtree(claim, ignore_errors=True)
    else:
        claim.unlink(missing_ok=True)


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(_BEAT):
        try:
            os.utime(path)
        except FileNotFoundError:
            return
        except OSError:  # the file server may be back at the next beat
            continue


def _alive(other: Path, mine: Path) -> bool:
    """Return whether the owner of another claim can still be at work."""
    try:
        owner = _owner(other.read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        return False
    except OSError:  # somebody else's, or the file server is away
        return _beats(other, mine)
    if owner is None:
        return False
    host, pid, start = owner
    if host == _host():
        here = _start(pid)
        if here is None or here != start:
            return False
        if here:
            return True
    return _beats(other, mine)


def _owner(claim: bytes) -> tuple[str, int, str] | None:
    """Return host, process and its start; ``None`` if it is no claim of ours."""
    try:
        found = json.loads(claim)
        host, pid, start = found["host"], found["pid"], found["start"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    whole = isinstance(host, str) and type(pid) is int and pid > 0 and isinstance(start, str)
    return (host, pid, start) if whole else None


def _beats(other: Path, mine: Path) -> bool:
    """Return whether another claim's last heartbeat is no further from now than the patience.

    Both times are the file server's. One that lies ahead of now by more than the patience was set
    by a clock that has been put back since, or by a host that sets its own: with its owner alive
    it would have been set anew. Waiting until now has caught up could take for ever.
    """
    try:
        last = other.stat().st_mtime
    except FileNotFoundError:
        return False
    os.utime(mine)
    return abs(mine.stat().st_mtime - last) < PATIENCE


def _host() -> str:
    """Return what must agree for a process number to mean the same process."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{platform.node()} {space}"


def _start(pid: int) -> str | None:
    """Return when a process of this host began, in some unit.

    Returns:
        ``None`` if the process is gone; "" if it may live but its beginning cannot be told.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot:
            era = boot.read().strip()
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if os.path.exists("/proc/self/stat") else _start_without_proc(pid)
    return None if fields[0] in "ZX" else f"{era} {fields[19]}"


def _start_without_proc(pid: int) -> str | None:
    if os.name == "nt":  # there signal 0 is Ctrl-C: it would end the process it asks after
        return ""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        return ""
    return ""

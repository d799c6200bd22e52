"""Files are written whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a UTF-8 file under a temporary name, then rename it.

    Args:
        path: File to write; its folder must exist.
        text: The content.

    Returns:
        The path.

    Raises:
        OSError: If the file cannot be written there.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(handle, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as err:
        raise OSError(
            f"`path` is {str(target)!r}, which cannot be written ({err.strerror}); expected a "
            "file in a folder that exists and may be written to. Choose another path."
        ) from err
    return target

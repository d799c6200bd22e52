"""``python -m isometry`` is the ``isometry`` command."""

from isometry.cli import main

main()

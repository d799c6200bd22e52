"""``python -m isometry`` is the ``isometry`` command."""

from isometry_command import main

main()

"""The command that offers other commands as tools, by the Model Context Protocol.

Each tool is a command with ``--json``, run in a process of its own: what a model prints or breaks
does not reach the server. A tool can do what its command can: import a module and run a model.
"""

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from isometry_command import SUMMARY, __version__

TOOLS = ("lint", "diagnose", "init", "law", "cumulant", "sigma-w", "activations", "schema")
"""Commands that answer within minutes and write nothing unless they are told to."""
_ALWAYS_JSON = ("schema",)


def mcp() -> None:
    """Serve lint, diagnose, init and the theory as tools of the Model Context Protocol (stdio)."""
    server().run()


def server() -> Any:
    """Return the server, which has a tool for each of ``TOOLS``."""
    from isometry.cli.app import app

    made = importlib.import_module("mcp.server").MCPServer(
        "isometry", instructions=SUMMARY, version=__version__
    )
    for name in TOOLS:
        command = app[name].default_command
        assert command is not None
        made.add_tool(tool_of(name, command), name=name.replace("-", "_"))
    return made


def tool_of(name: str, command: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Return a function with a command's parameters that runs it and gives what it prints."""
    parameters = {
        key: p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for key, p in inspect.signature(command).parameters.items()
        if key != "json"
    }

    def tool(**given: Any) -> dict[str, Any]:
        front, back = [], []
        for key, value in given.items():
            positional = inspect.signature(command).parameters[key].kind.name == "POSITIONAL_ONLY"
            (front if positional else back).extend(_words(key, value, positional))
        return answer([name, *front, *back, *([] if name in _ALWAYS_JSON else ["--json"])])

    tool.__doc__ = inspect.getdoc(command)
    tool.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess]
        list(parameters.values()), return_annotation=dict[str, Any]
    )
    return tool


def answer(words: Sequence[str]) -> dict[str, Any]:
    """Run a command and return what it prints.

    Raises:
        ToolError: If it fails, of the package mcp, with the command's own sentence.
    """
    command = [sys.executable, "-m", "isometry", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode not in (0, 1):  # 1: it answered, and a check failed
        errors = importlib.import_module("mcp.server.mcpserver.exceptions")
        raise errors.ToolError(
            done.stderr.strip() or f"isometry ended with status {done.returncode}"
        )
    return json.loads(done.stdout)


def _words(key: str, value: Any, positional: bool) -> Iterator[str]:
    """Give an argument as words of the command line; what is left out is given as none."""
    option = f"--{key.replace('_', '-')}"
    if value is None or value is False:
        return
    if positional:
        yield str(value)
    elif value is True:
        yield option
    else:
        for each in value if isinstance(value, (list, tuple)) else [value]:
            yield f"{option}={each}"

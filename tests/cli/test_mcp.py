import asyncio
import inspect
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from cases_cli import run
from isometry.cli.app import app
from isometry.cli.mcp import TOOLS, tool_of

MODULE = """
import torch

def make():
    print("a model may print")
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
"""


def command(name):
    return app[name].default_command


@pytest.fixture
def asked(monkeypatch):
    """Return the words that a tool would run a command with."""
    seen = []
    monkeypatch.setattr("isometry.cli.mcp.answer", lambda words: seen.append(list(words)) or {})
    return seen


def test_arguments_become_words_of_the_command_line(asked):
    tool_of("diagnose", command("diagnose"))(
        input=[Path("a.pt"), Path("-b.pt")], model="net:make", twin=True, seed=3, wrt=None
    )
    assert asked == [
        ["diagnose", "net:make", "--input=a.pt", "--input=-b.pt", "--twin", "--seed=3", "--json"]
    ]


def test_a_command_that_is_always_json_gets_no_option_for_it(asked):
    tool_of("schema", command("schema"))(kind="spectrum")
    assert asked == [["schema", "spectrum"]]


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_has_the_parameters_of_its_command(name):
    parameters = inspect.signature(command(name)).parameters
    tool = tool_of(name, command(name)).__signature__.parameters
    assert set(tool) == set(parameters) - {"json"}


def test_without_the_package_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    status, printed, complaint = run("mcp", capsys)
    assert (status, printed) == (2, "")
    assert complaint == "error: this command needs mcp; run `pip install 'isometry[mcp]'`.\n"


def test_a_client_lists_the_tools_and_calls_them(tmp_path, monkeypatch):
    """The real client and the real server, which `isometry mcp` runs, over standard input."""
    mcp = pytest.importorskip("mcp", reason="the [mcp] extra is not installed")
    (tmp_path / "net.py").write_text(MODULE)
    torch.save(torch.linspace(-1, 1, 8).reshape(1, 8), tmp_path / "x.pt")
    monkeypatch.chdir(tmp_path)

    async def talk():
        words = mcp.StdioServerParameters(
            command=sys.executable, args=["-m", "isometry", "mcp"], cwd=tmp_path,
            env=dict(os.environ),
        )  # fmt: skip
        async with mcp.Client(words) as client:
            listed = {tool.name: tool for tool in (await client.list_tools()).tools}
            law = await client.call_tool("law", {"c": 1.0})
            lint = await client.call_tool("lint", {"model": "net:make"})
            wrong = await client.call_tool("lint", {"model": "nett:make"})
        return listed, law, lint, wrong

    listed, law, lint, wrong = asyncio.run(talk())
    assert set(listed) == {name.replace("-", "_") for name in TOOLS}
    assert listed["lint"].input_schema["required"] == ["model"]
    assert law.structured_content["c"] == 1.0
    assert lint.structured_content["schema"] == "isometry/lint-report/2"
    assert wrong.is_error
    assert "there is no module 'nett'" in json.dumps([c.text for c in wrong.content])

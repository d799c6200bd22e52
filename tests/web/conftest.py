"""The page in a real browser, for the tests that have one."""

import os
import shutil

import pytest

import isometry as iso
from isometry.cli.output import json_text
from isometry.web import write_explorer

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    # chromium's own sandbox refuses root, who is the user of most containers
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    write_explorer(path)
    return path.as_uri()


@pytest.fixture(scope="module")
def context(browser):
    made = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    made.grant_permissions(["clipboard-read", "clipboard-write"])
    yield made
    made.close()


@pytest.fixture
def page(context, address):
    """The page from the disk; it must ask for nothing and complain of nothing."""
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    troubles = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda message: troubles.append(message.text))
    opened.on("request", lambda request: troubles.append(request.url))
    opened.goto(address)
    yield opened
    opened.close()
    assert [text for text in troubles if not text.startswith((address, "blob:", "data:,"))] == []


@pytest.fixture(scope="module")
def diagnosis(tmp_path_factory):
    """A real one, as the command prints it, and its file."""
    torch = pytest.importorskip("torch")
    from isometry import nn as inn

    torch.manual_seed(0)
    net = inn.ResNet(iso.ResNetSpec("tanh", depth=8, sigma_w=1.0), width=48)
    found = inn.diagnose(net, torch.randn(1, 48))
    path = tmp_path_factory.mktemp("diagnosis") / "diagnosis.json"
    path.write_text(json_text(found))
    return found, path

"""One file from many: the explorer's markup, style and modules, with nothing left to load.

A page opened from a disk may not import modules from other files. So every module becomes a
function that returns what it exports, in the order in which they need each other; a content
security policy with the digests of the one script and the one style forbids the page everything
else, the network first of all.
"""

import base64
import functools
import hashlib
import posixpath
import re
from importlib import resources
from pathlib import Path

_ENTRY = "page/main.js"
_FROM = re.compile(r'^(import|export) \{([^}]*)\} from "([^"]+)";\n', re.MULTILINE)
_OWN = re.compile(r"^export (?:async )?(?:function\*?|class|const) (\w+)", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) )", re.MULTILINE)


@functools.cache
def explorer_page() -> str:
    """Return the explorer as one self-contained HTML page.

    Returns:
        The page; it needs no network and no server.

    Examples:
        >>> "isometry explorer" in explorer_page()
        True
    """
    style, script = asset("style.css"), _script()
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">\n'
        f"<style>{style}</style>\n</head>"
    )
    page = asset("index.html").replace("</head>", head)
    return page.replace("</body>", f'<script type="module">{script}</script>\n</body>')


def write_explorer(path: str | Path) -> None:
    """Write the explorer into a file that works from a disk.

    Args:
        path: The file; it is replaced if it exists.

    Raises:
        OSError: If the file cannot be written.
    """
    Path(path).write_text(explorer_page(), encoding="utf-8", newline="\n")


def asset(name: str) -> str:
    """Return a file of the page's sources, by its path below ``assets``."""
    place = resources.files("isometry.web") / "assets"
    return place.joinpath(*name.split("/")).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return what the page may do: run its own script and style, and nothing else."""
    digest = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in (("style", style), ("script", script))
    }
    return (
        f"default-src 'none'; script-src 'sha256-{digest['script']}'; "
        f"style-src 'sha256-{digest['style']}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _script() -> str:
    """Return all modules as one script."""
    ordered: dict[str, str] = {}
    _collect(_ENTRY, ordered)
    return "\n" + "\n".join(_wrapped(name, source) for name, source in ordered.items())


def _collect(name: str, ordered: dict[str, str]) -> None:
    """Add a module behind those that it needs; the sources have no cycles."""
    source = asset(name)
    for _, _, target in _FROM.findall(source):
        needed = _resolved(name, target)
        if needed not in ordered:
            _collect(needed, ordered)
    ordered[name] = source


def _resolved(name: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def _variable(name: str) -> str:
    return "$" + re.sub(r"\W", "_", name.removesuffix(".js"))


def _wrapped(name: str, source: str) -> str:
    """Return a module as a function that is called at once and returns its exports."""
    exports = _OWN.findall(source)

    def bound(match: re.Match[str]) -> str:
        kind, names, target = match.groups()
        if kind == "export":
            exports.extend(re.findall(r"\w+", names))
        return f"const {{{names}}} = {_variable(_resolved(name, target))};\n"

    body = _EXPORT.sub("", _FROM.sub(bound, source))
    returned = f"return {{ {', '.join(exports)} }};\n" if exports else ""
    return f"// {name}\nconst {_variable(name)} = (() => {{\n{body}{returned}}})();\n"

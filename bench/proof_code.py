"""Which code and scenario a run's result depends on, as a hash.

The modules that a run imports, found in their text, without comments, docstrings, annotations and
layout: a change of the docs, of a server or of another policy leaves results valid.
"""

import ast
import copy
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from simulator.scenario import load_scenario

__all__ = ["OURS", "ROOT", "RUN", "closure", "run_sha256", "stripped"]

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("adapter", "optimizer", "simulator", "bench")
RUN = ("simulator.closed_loop", "simulator.summary")
OURS = ("adapter.commands.replay_wva", "adapter.commands.replay_settings")
# Read by modules of the package beside them.
DATA = {"adapter": "adapter/collect/*.yaml", "simulator": "simulator/*.yaml"}


@cache
def run_sha256(scenario: str, roots: tuple[str, ...], arguments: str = "") -> str:
    """Return the hash of all that a run of this scenario depends on.

    `roots` are the modules that the policy comes from, `arguments` what it is made with.
    """
    found = hashlib.sha256(_code_sha256(roots).encode() + arguments.encode())
    said = load_scenario(scenario).model_dump_json(exclude={"about", "sources"})
    found.update(said.encode())
    return found.hexdigest()


@cache
def _code_sha256(roots: tuple[str, ...]) -> str:
    found = hashlib.sha256()
    names = sorted(closure((*RUN, *roots)))
    for name in names:
        found.update(name.encode() + b"\0" + ast.dump(stripped(_tree(name))).encode())
    packages = {name.partition(".")[0] for name in names}
    patterns = [pattern for package, pattern in DATA.items() if package in packages]
    for path in sorted(p for pattern in patterns for p in ROOT.glob(pattern)):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def closure(roots: Iterable[str]) -> set[str]:
    """Return the project's modules that these import, themselves included.

    Of a package that hands on names of its parts, only those parts count; names of arrays' types
    don't.
    """
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_imported(name))
    return found


def _imported(name: str) -> Iterator[str]:
    package = name if _path(name).name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            if base.partition(".")[0] in PACKAGES:
                origins = ((_origin(base, alias.name), alias.name) for alias in node.names)
                yield from (origin for origin, alias in origins if not _is_alias(origin, alias))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def _origin(base: str, name: str) -> str:
    """Return the module that `from base import name` takes the name from."""
    if _is_ours(f"{base}.{name}"):
        return f"{base}.{name}"
    if _path(base).name != "__init__.py":
        return base
    for node in _tree(base).body:
        if isinstance(node, ast.ImportFrom) and name in {a.asname or a.name for a in node.names}:
            return _origin(_absolute(node, base), name)
    return base


@cache
def _is_alias(module: str, name: str) -> bool:
    """Return whether a module's name is another name of an array's type."""
    return any(
        isinstance(node, ast.Assign)
        and [ast.unparse(target) for target in node.targets] == [name]
        and ast.unparse(node.value).startswith("NDArray[")
        for node in _tree(module).body
    )


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in PACKAGES and _path(name).exists()


def _path(name: str) -> Path:
    module = ROOT.joinpath(*name.split("."))
    return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(_path(name).read_text(encoding="utf-8"))


def stripped(tree: ast.Module) -> ast.Module:
    """Return the tree without docstrings, and without annotations: they say what may be, not what is.

    What a scenario's fields may hold shows in the scenario's own values.
    """
    tree = copy.deepcopy(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            said = body[0].value
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                body[0] = ast.Pass()
    return tree

"""The rooms of the package and the direction in which they may depend on each other."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "moda_keras"
# A room uses only rooms of rows above its own. The command line may use the package as users do.
ROOMS = [
    {"messages", "owners"},
    {"backend_choice", "ops", "layers", "files", "claims", "html_table", "progress"},
    {"graph"},
    {"slicing"},
    {"modules", "observing"},
    {"training", "reuse", "datasets", "zoo"},
    {"methods"},
    {"evaluation"},
    {"tuning"},
    {"diagnosis"},
    {"reporting", "hub"},
    {"experiments"},
    {"api", "cli"},
]
RANKS = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}


def imported_names(path):
    """Full names of what a file imports from the package, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if room_of(path) not in ("__init__", "__main__")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_room_uses_only_rooms_above_it(path):
    room = room_of(path)
    for name in imported_names(path):
        package, _, rest = name.partition(".")
        if package != "moda_keras" or (room == "cli" and not rest):
            continue
        used = rest.partition(".")[0]
        assert used == room or RANKS[used] < RANKS[room], f"{room} uses {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - len(docstring.splitlines())
            assert lines <= 60, f"{node.name} has {lines} lines"

"""Runs a file of plain Python data and says where in it something stands."""

import ast
import types
from pathlib import Path
from typing import Any

from dsops.core.errors import DsopsError


def execute(path: Path) -> dict[str, Any]:
    """Its public values: no underscore, nothing imported. Raises DsopsError with the line."""
    text = _read(path)
    try:
        tree = ast.parse(text, filename=str(path))
        values: dict[str, Any] = {"__file__": str(path), "__name__": path.stem}
        exec(compile(tree, str(path), "exec"), values)  # noqa: S102  # pyinfra runs the very same file
    except SyntaxError as error:
        raise DsopsError(
            f"is not Python: {error.msg}", where=f"{path}:{error.lineno}", mend="mend that line"
        ) from error
    except Exception as error:
        where = f"{path}:{_line_of(error, path)}"
        raise DsopsError(f"{type(error).__name__}: {error}", where=where, mend="mend that line") from error
    hidden = _imported(tree)
    return {
        key: value
        for key, value in values.items()
        if not key.startswith("_")
        and key not in hidden
        and not isinstance(value, types.ModuleType | types.FunctionType)
    }


def find_line(path: Path, word: str) -> int | None:
    """The line where `word` is first assigned, or first stands as a string; None when it does not."""
    try:
        tree = ast.parse(path.read_text())
    except (OSError, SyntaxError, ValueError):
        return None
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id == word and isinstance(node.ctx, ast.Store))
        or (isinstance(node, ast.Constant) and node.value == word)
    ]
    return min(lines, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DsopsError(f"cannot be read ({error})", where=str(path)) from error


def _line_of(error: BaseException, path: Path) -> int:
    line, trace = 1, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _imported(tree: ast.Module) -> set[str]:
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names}

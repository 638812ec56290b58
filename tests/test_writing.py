"""Whatever the package writes to disk goes through `anybudget.storage.files`: whole files, synchronised, or none."""

import ast
from pathlib import Path

import anybudget

SOURCE = Path(anybudget.__file__).parent
OWN = ("self", "self.folder")
WRITERS = {
    "write_text",
    "write_bytes",
    "save_file",
    "savez",
    "savez_compressed",
    "to_csv",
    "dump",
    "NamedTemporaryFile",
}


def writes(tree: ast.AST) -> list[int]:
    """The lines that write a file by other means."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        texts = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
        opens = name == "open" and any(isinstance(t, str) and t[:1] in tuple("wax") and len(t) < 4 for t in texts)
        # `RunFolder.write_text` and `write_bytes` write whole files by way of `anybudget.storage.files`.
        own = ast.unparse(node.func) in {f"{folder}.write_{kind}" for folder in OWN for kind in ("text", "bytes")}
        # An archive that is put together in memory is no file yet.
        in_memory = bool(node.args) and ast.unparse(node.args[0]) == "buffer"
        if opens or (name in WRITERS and not own and not in_memory):
            found.append(node.lineno)
    return found


def test_one_module_writes_files() -> None:
    found = {
        path.relative_to(SOURCE).as_posix(): lines
        for path in SOURCE.rglob("*.py")
        if (lines := writes(ast.parse(path.read_text(encoding="utf-8"))))
    }
    # `on_device.py` is copied to other devices, where it has nothing of this package.
    assert set(found) == {"storage/files.py", "latency/on_device.py"}

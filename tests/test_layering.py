"""The law of layers: a file imports only files above it in the reading order."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "nmt"

READING_ORDER = """
    config declared lines hardware renumbering subwords corpus batching
    models.base models.layers models.attention models.rnn models.transformer
    models.export models.ensemble models
    loss search alignment gold hmm scores comparison plotting checkpoint aligner facts events tracker progress runs
    translator inspection choosing teaching
    preparation optimisation validation training systems evaluation tables page heatmaps report alignment_page
    presentation commands translate_command align_commands cli
"""
ORDER = READING_ORDER.split()


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """What a file imports of nmt, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "nmt":
            module = node.module.removeprefix("nmt").lstrip(".")
            names = [f"{module}.{alias.name}".lstrip(".") for alias in node.names]
            found |= {name if name in ORDER else module for name in names}
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("nmt.") for a in node.names if a.name.split(".")[0] == "nmt"}
    return found


FILES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def test_every_file_has_its_place():
    assert set(FILES) - {""} == set(ORDER)


def test_files_import_only_files_above_them():
    for name in ORDER:
        below = {other for other in imports(FILES[name]) if ORDER.index(other) >= ORDER.index(name)}
        assert not below, f"{name} imports {below}, which stand below it"


def test_only_the_models_know_which_model_they_are():
    for name, path in FILES.items():
        if not name.startswith("models"):
            assert not imports(path) & {"models.rnn", "models.transformer"}, name
            assert "isinstance(model" not in path.read_text(encoding="utf-8"), name


def test_the_gpu_and_matplotlib_are_named_in_one_file_each():
    for name, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        assert name == "hardware" or ("torch.cuda" not in text and "torch.distributed" not in text), name
        assert name == "plotting" or "import matplotlib" not in text, name

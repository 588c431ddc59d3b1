"""What README promises and which way the imports go."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
from importlinter.application.use_cases import lint_imports
from importlinter.configuration import configure
from torch import nn

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_imports_go_one_way() -> None:
    configure()
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None)


def test_readme_has_the_two_commands() -> None:
    assert "\npip install -e . && streamlit run app.py\n" in README
    assert '\npip install -e ".[test]" && pytest\n' in README


def test_readmes_first_python_gives_what_its_comments_say() -> None:
    code = re.search(r"```python\n(from dataclasses.*?)```", README, re.DOTALL)
    assert code is not None
    names: dict[str, object] = {}
    exec(code[1], names)
    table = names["table"]
    assert isinstance(table, pd.DataFrame)
    assert isinstance(names["model"], nn.Module)
    said = re.search(r"table\.macs\.sum\(\)\s+# (\d+), (\d+)", code[1])
    assert said is not None
    assert [int(number) for number in said.groups()] == [table.params.sum(), table.macs.sum()]


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, explorer; print(sorted({'torch', 'numpy', 'pandas', 'streamlit', 'plotly'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_every_asset_has_a_source_line() -> None:
    said = (ROOT / "assets/SOURCES.md").read_text()
    for asset in (ROOT / "assets").iterdir():
        assert asset.name == "SOURCES.md" or f"{asset.name}:" in said, asset


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=\[ ]", line)[0].lower().replace("-", "_") for line in project["dependencies"]}
    names = {"PIL": "pillow", "skimage": "scikit_image", "sklearn": "scikit_learn"}
    imported = set()
    for file in (*(ROOT / "explorer").rglob("*.py"), ROOT / "app.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                imported.add(node.module.split(".")[0])
    third_party = imported - set(sys.stdlib_module_names) - {"explorer"}
    assert {names.get(name, name) for name in third_party} <= declared

"""What a deployment sends to Azure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from local.desk import ROOT

NEVER = ("tests", "local", "infra", "docs", "powerbi", "typings", ".git", ".local", ".venv", "__pycache__")


def package() -> Iterator[str]:
    """The files that azd puts into the package: all that .funcignore does not name."""
    ignored = GitIgnoreSpec.from_lines((ROOT / ".funcignore").read_text().splitlines())
    todo = [ROOT]
    while todo:
        for path in todo.pop().iterdir():
            name = path.relative_to(ROOT).as_posix()
            if not ignored.match_file(f"{name}/" if path.is_dir() else name):
                if path.is_dir():
                    todo.append(path)
                else:
                    yield name


def test_the_package_holds_what_runs_and_nothing_else() -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "shared").rglob("*.py")}
    assert set(package()) == {"function_app.py", "host.json", "requirements.txt", *modules}


def test_what_must_never_be_sent_is_not() -> None:
    assert [name for name in package() if Path(name).parts[0] in NEVER or "local.settings" in name] == []

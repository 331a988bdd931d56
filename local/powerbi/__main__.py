"""Writes what is made from the schema, the KPIs and the pages.

    python3 dev.py powerbi

The Power BI project under `powerbi/`, `docs/kpis.md` and `docs/data-dictionary.md`. Files of the project that are
no longer made are deleted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from local.desk import ROOT
from local.powerbi.documents import data_dictionary, kpis
from local.powerbi.pbir import PROJECT, project_files
from local.powerbi.tmdl import model_files


def generated() -> Mapping[str, str]:
    """Path below the project's root to text."""
    model = f"powerbi/{PROJECT}.SemanticModel/definition"
    return {
        **{f"powerbi/{path}": json.dumps(content, indent=2) + "\n" for path, content in project_files().items()},
        **{f"{model}/{path}": text for path, text in model_files().items()},
        "docs/kpis.md": kpis(),
        "docs/data-dictionary.md": data_dictionary(),
    }


def main() -> int:
    files = generated()
    for path, text in files.items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8", newline="\n")
    for stale in (path for path in project_parts() if path.relative_to(ROOT).as_posix() not in files):
        stale.unlink()
    print(f"{len(files)} files written")
    return 0


def project_parts() -> list[Path]:
    """The files of the project as they are, without what Power BI Desktop keeps for one person."""
    return [path for path in (ROOT / "powerbi").rglob("*") if path.is_file() and ".pbi" not in path.parts]


if __name__ == "__main__":
    sys.exit(main())

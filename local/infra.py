"""`python3 dev.py infra check | build | what-if`: looks at the templates before Azure does.

check    what needs no Azure: syntax, settings, queries, permission scripts, checkov, shellcheck
build    the Bicep compiler and its linter over every template; needs the Azure CLI
what-if  what a deployment would change; needs the Azure CLI, signed in, and an azd environment or its variables
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.desk import ROOT

MAIN = ROOT / "infra" / "main.bicep"
PARAMETERS = ROOT / "infra" / "main.parameters.json"
WITH_EXTENSION = ROOT / "infra" / "graph" / "audit-permission.bicep"
REFERENCE = re.compile(r"\$\{([A-Z_]+)\}")


def main(argv: Sequence[str]) -> int:
    commands = {"check": check, "build": build, "what-if": what_if}
    if len(argv) != 1 or argv[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    return commands[argv[0]]()


def check() -> int:
    return run([sys.executable, "-m", "pytest", str(ROOT / "tests" / "infra")])


def build() -> int:
    az = find_az()
    templates = (MAIN, WITH_EXTENSION)
    codes = [run([az, "bicep", step, "--file", str(path)]) for path in templates for step in ("lint", "build")]
    for path in templates:
        path.with_suffix(".json").unlink(missing_ok=True)
    return max(codes)


def what_if() -> int:
    """Show what a deployment would change, with the values azd would take."""
    known = {**os.environ, **azd_values()}
    given = parameters(known)
    missing = {"environmentName", "location", "environments"} - set(given)
    if missing:
        print(f"not set: {', '.join(sorted(missing))}; run azd init and azd env set, see docs/deploy.md")
        return 1
    values = [f"{name}={value}" for name, value in given.items()]
    where = ["--location", given["location"], "--template-file", str(MAIN)]
    # that which is deployed to need not be the one az prefers
    where += ["--subscription", subscription] if (subscription := known.get("AZURE_SUBSCRIPTION_ID")) else []
    return run([find_az(), "deployment", "sub", "what-if", *where, "--parameters", *values])


def parameters(values: Mapping[str, str], file: Path = PARAMETERS) -> dict[str, str]:
    """The parameters that `values` give, by the mapping in main.parameters.json; others keep their defaults.

    Values are read as azd reads them, which puts each between the quotation marks of that file as it stands.
    """
    mapped = json.loads(file.read_text("utf-8"))["parameters"]
    wanted = {name: REFERENCE.fullmatch(entry["value"]) for name, entry in mapped.items()}
    given = {name: found[1] for name, found in wanted.items() if found and values.get(found[1])}
    return {name: _between_quotation_marks(variable, values[variable]) for name, variable in given.items()}


def _between_quotation_marks(variable: str, value: str) -> str:
    try:
        return json.loads(f'"{value}"')
    except ValueError:
        raise SystemExit(
            f"{variable}: azd can't read it; quotation marks and backslashes must be written as \\\" and \\\\"
        ) from None


def azd_values() -> dict[str, str]:
    """What azd remembers of the chosen environment; nothing where there is no azd."""
    azd = shutil.which("azd")
    if not azd:
        return {}
    done = subprocess.run(
        [azd, "env", "get-values", "--output", "json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout) if done.returncode == 0 else {}


def find_az() -> str:
    az = shutil.which("az")
    if not az:
        raise SystemExit("the Azure CLI is needed for this: https://aka.ms/azure-cli")
    return az


def run(command: Sequence[str]) -> int:
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

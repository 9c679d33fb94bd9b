"""All providers and the routers before them, for a suite in another language: `with_fleet.py BINARY COMMAND...`

Runs COMMAND with STAGES set, a JSON list of {name, model, wire, url}, and ROUTER_KEY; exits as COMMAND did.
"""

import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import fleet as fleets  # noqa: E402
import router as routers  # noqa: E402


def main(binary, *command):
    """Returns the exit code of the command."""
    with fleets.Fleet(binary) as fleet:
        stages = [
            {"name": fleets.label(target), "model": target.name, "wire": target.wire, "url": fleet.router(target).url}
            for target in fleets.TARGETS
        ]
        names = {"STAGES": json.dumps(stages), "ROUTER_KEY": routers.KEY}
        code = subprocess.run(command, env=os.environ | names, check=False).returncode
        if code:
            print(fleet.inner.tail())
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

#!/usr/bin/env bash
# The tests with the real OpenAI Python SDK, first at one provider and then at every kind of provider: run.sh BINARY.
#
# The SDK lives in a throw-away environment below the target directory; SDK_PYTHON names another interpreter.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
binary="$(realpath "${1:?usage: run.sh BINARY}")"
environment="${CARGO_TARGET_DIR:-$here/../../target}/sdk-venv"
python="${SDK_PYTHON:-$environment/bin/python}"
if [ ! -x "$python" ]; then
    python3 -m venv "$environment"
fi
if ! "$python" -c 'import openai' 2> /dev/null; then
    "$python" -m pip install --quiet --disable-pip-version-check openai
fi
export PYTHONDONTWRITEBYTECODE=1
"$python" "$here/suite.py" "$binary"
"$python" "$here/dialects.py" "$binary"

#!/usr/bin/env bash
# SDKs of other makers at every kind of provider: run.sh BINARY DIRECTORY, where the environments are made.
#
# One environment for each family, since the versions they pin differ. uv makes them, pip being ten times slower.
set -uo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
binary="$(realpath "${1:?usage: run.sh BINARY DIRECTORY}")"
mkdir -p "${2:?usage: run.sh BINARY DIRECTORY}"
cd "$2" || exit
failed=0

# The Python of the environment $1, which has the package $2.
environment() {
    if [ ! -x "$1/.done" ]; then
        [ -x uv/bin/uv ] || { python3 -m venv uv && uv/bin/pip install --quiet --disable-pip-version-check uv; } || exit
        uv/bin/uv venv --quiet --clear "$1" && uv/bin/uv pip install --quiet --python "$1/bin/python" "$2" || exit
        install -m 755 /dev/null "$1/.done"
    fi
}

while read -r name package script; do
    environment "$name" "$package"
    "$name/bin/python" -B "$here/$script" "$binary" > "$name.log" 2>&1 || { failed=1; cat "$name.log"; }
    tail -n 1 "$name.log"
done << LIST
anthropic anthropic messages_api.py
google google-genai gemini_api.py
langchain langchain-openai langchain_suite.py
pydantic pydantic-ai-slim[openai,anthropic] pydantic_suite.py
LIST

[ -d javascript/node_modules/@anthropic-ai/sdk ] || npm install --silent --no-audit --no-fund --ignore-scripts \
    --prefix javascript openai @anthropic-ai/sdk || exit
python3 -B "$here/with_fleet.py" "$binary" node "$here/suite.mjs" javascript || failed=1
exit "$failed"

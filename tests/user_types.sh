#!/usr/bin/env bash
# The examples, as the strict type checker of somebody who uses metagym sees them.
set -euo pipefail
cd "$(dirname "$0")/.."
# Gymnasium's Env.close is not annotated, which is no fault of the user's.
MYPYPATH=src python -m mypy --strict --config-file= --follow-imports=silent --scripts-are-modules \
  --untyped-calls-exclude=gymnasium examples/*.py examples/environments/*.py

#!/usr/bin/env bash
# Wheel and sdist, built and installed in fresh environments, each tried by a run: every Python that is here,
# the core on the oldest and the newest Gymnasium, each extra, and all of them.
#
#   bash tests/install_paths.sh                      everything; torch alone is gigabytes
#   bash tests/install_paths.sh core minihack        only these
#   PYTHONS="python3.12 /opt/py/bin/python3.14" bash tests/install_paths.sh core
#
# `uv` is used where it is there, since it is many times faster than pip. Exit code 1 where a path failed.
set -uo pipefail
cd "$(dirname "$0")/.."
targets=("${@:-}")
[ -n "${targets[0]}" ] || targets=(core sdist newest alfworld minihack report train all)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

make_venv() { if command -v uv >/dev/null; then uv -q venv --python "$1" "$2"; else "$1" -m venv "$2"; fi; }
install() { # venv, packages
  local venv=$1; shift
  if command -v uv >/dev/null; then uv -q pip install --python "$venv/bin/python" "$@"; else "$venv/bin/pip" install -q "$@"; fi
}

smoke() { # venv, target: from an empty folder, so that no checkout is imported
  local bin=$1/bin
  mkdir -p "$1/empty" && cd "$1/empty" || return 1
  "$bin/metagym" doctor --json >doctor.json || { grep -A3 '"problem"' doctor.json; return 1; }
  "$bin/metagym" demo -n 2 --out gates >/dev/null && "$bin/metagym" verify gates >/dev/null || return 1
  "$bin/metagym" demo --env MetaGym/ALFWorld-v0 -n 1 --out alfworld >/dev/null || return 1
  case $2 in
    minihack | all) "$bin/metagym" demo --env MetaGym/MiniHack-v0 -n 1 --out minihack >/dev/null || return 1 ;;&
    report | all) "$bin/python" -c "import matplotlib, pyarrow, metagym.evaluation.output.plots" || return 1 ;;&
    alfworld | all) "$bin/python" -c "import importlib.metadata as m; m.version('alfworld'), m.version('textworld')" || return 1 ;;&
    train | all) "$bin/python" -c "import torch, metagym.training.grpo" || return 1 ;;
  esac
}

python3 -m venv "$work/build" && "$work/build/bin/pip" install -q build || exit 1
"$work/build/bin/python" -m build -q --outdir "$work/dist" . || exit 1
wheel=$(ls "$work"/dist/*.whl) sdist=$(ls "$work"/dist/*.tar.gz)
printf 'built %s and %s\n' "$(basename "$wheel")" "$(basename "$sdist")"

for python in ${PYTHONS:-python3.11 python3.12 python3.13 python3.14}; do
  version=$("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null) || { echo "$python: not here"; continue; }
  for target in "${targets[@]}"; do
    venv=$work/venv
    rm -rf "$venv"
    case $target in
      core) packages=("$wheel" "gymnasium==1.2.0") ;;
      newest) packages=("$wheel" gymnasium) ;;
      sdist) packages=("$sdist") ;;
      *) packages=("metagym[$target] @ file://$wheel") ;;
    esac
    log=$work/log
    if ! { make_venv "$python" "$venv" && install "$venv" "${packages[@]}"; } >"$log" 2>&1; then
      printf '%-9s %-9s does not install: %s\n' "$version" "$target" "$(grep -v '^$' "$log" | tail -n 3 | tr '\n' ' ' | cut -c1-300)"
      failed=1
    elif ! (smoke "$venv" "$target") >"$log" 2>&1; then
      printf '%-9s %-9s installs, and fails: %s\n' "$version" "$target" "$(tail -n 3 "$log" | tr '\n' ' ' | cut -c1-300)"
      failed=1
    else
      gymnasium=$("$venv/bin/python" -c 'import importlib.metadata as m; print(m.version("gymnasium"))')
      printf '%-9s %-9s ok, on gymnasium %s\n' "$version" "$target" "$gymnasium"
    fi
  done
done
exit $failed

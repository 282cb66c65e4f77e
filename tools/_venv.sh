# Sourced by the launchers: makes .venv or reuses it, and installs what is pinned. Nothing is compiled.
# PYTHON chooses the interpreter (3.10 to 3.12). Usage: source tools/_venv.sh requirements.txt [...]
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || {
  echo "mimeval needs Python 3.10 to 3.12, found $("$python" --version): set PYTHON to one of these." >&2
  exit 2
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
for pins in "$@"; do
  # A copy of the pins lies beside what was installed from them, so a second run installs nothing.
  installed=.venv/installed-$(basename "$pins")
  if ! cmp -s "$pins" "$installed"; then
    echo "Installing $pins ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$pins"
    cp "$pins" "$installed"
  fi
done
[ -x .venv/bin/mimeval ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
# The launchers run what PYTHON names, too; from here on that is the environment, not what it was made with.
export PYTHON="$PWD/.venv/bin/python"

#!/bin/sh
# release/commit.sh FILE [COMMIT] - prints which commit this is, with -dirty where files differ from it, for --version.
# FILE gets the same text, and is written only when that changes, so that what depends on it is made anew only then.
# COMMIT is for sources without git's own folder, as in a container; without it they are "unknown".
set -u
cd "$(dirname "$0")/.."
commit=${2:-}
if [ -z "$commit" ] && [ -e .git ]; then
    commit=$(GIT_OPTIONAL_LOCKS=0 git describe --always --abbrev=12 --dirty --exclude='*' 2>/dev/null)
fi
commit=${commit:-unknown}
mkdir -p "$(dirname "$1")"
[ "$(cat "$1" 2>/dev/null)" = "$commit" ] || echo "$commit" >"$1"
echo "$commit"

#!/bin/sh
# tests/run.sh [--api] PROGRAM... - runs the C test programs (Check prints "NN%: Checks: n, Failures: n, Errors: n")
# and, with --api, pytest on tests/api; adds the counts up and ends in a line that says them. TEST_SLOW=1 says that this
# is a sanitizer build: everything is given ten times as long.
set -u
slower=1
[ -z "${TEST_SLOW:-}" ] || slower=10
# Check's own limit of 4 seconds is the clock's: a busy machine passes it in tests that take one of processor time.
export CK_DEFAULT_TIMEOUT=60 CK_TIMEOUT_MULTIPLIER=$slower
limit=$((540 * slower))
passed=0 failed=0 skipped=0
ahead=$(mktemp -d)
trap 'rm -rf "$ahead"' EXIT

number() { printf '%s' "$1" | grep -oE "[0-9]+ $2" | head -n 1 | cut -d' ' -f1; }

# LIMIT PROGRAM DIR: a program's output to DIR/its path, its exit status and seconds to that.end.
export RUN='to=$3/$(printf %s "$2" | tr / _); began=$(date +%s); timeout "$1" "$2" >"$to" 2>&1
            echo "$? $(($(date +%s) - began))" >"$to.end"'

# What runs on the emulated GPU keeps one core busy and measures no time: as many at once as there are cores.
run_ahead() {
    for program in "$@"; do
        case $program in */cusim/*) printf '%s\n' "$program" ;; esac
    done | xargs -P "$(nproc)" -I{} sh -c "$RUN" sh "$limit" {} "$ahead"
}

run_program() {
    file=$ahead/$(printf %s "$1" | tr / _)
    [ -f "$file.end" ] || sh -c "$RUN" sh "$limit" "$1" "$ahead"
    out=$(cat "$file")
    read -r rc took <"$file.end"
    line=$(printf '%s\n' "$out" | grep -E '^[0-9]+%: Checks: ' | tail -n 1)
    counts=$(printf '%s' "$line" | tr -c '0-9' ' ')
    # shellcheck disable=SC2086
    set -- "$1" ${counts:-0 0 0 0}
    n=$3 bad=$(($4 + $5))
    [ -z "$line" ] || [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    if [ "$bad" -gt 0 ]; then
        printf '%s\n' "$out" | tail -n 200
        echo "FAILED $1 (exit $rc)"
    else
        echo "ok $1: $n checks, $took s"
        printf '%s\n' "$out" | grep '^skip: '
    fi
    passed=$((passed + (n > bad ? n - bad : 0)))
    failed=$((failed + bad))
    skipped=$((skipped + $(printf '%s\n' "$out" | grep -c '^skip: ')))
}

run_api() {
    out=$(mktemp)
    build/venv/bin/python -m pytest -q -p no:cacheprovider tests/api 2>&1 | tee "$out"
    line=$(tail -n 1 "$out")
    rm -f "$out"
    p=$(number "$line" passed) f=$(number "$line" failed) e=$(number "$line" error) s=$(number "$line" skipped)
    [ -z "$p$f$e$s" ] && f=1
    passed=$((passed + ${p:-0}))
    failed=$((failed + ${f:-0} + ${e:-0}))
    skipped=$((skipped + ${s:-0}))
}

api=
[ "${1:-}" = --api ] && { api=1; shift; }
run_ahead "$@"
for program in "$@"; do
    run_program "$program"
    rm -f "$file" "$file.end"
done
[ -n "$api" ] && run_api
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

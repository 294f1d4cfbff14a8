#!/bin/sh
# tests/run.sh [--api] PROGRAM... - runs the C test programs (Check prints "NN%: Checks: n, Failures: n, Errors: n") and,
# with --api, pytest on tests/api; adds the counts up and ends in a line that says them.
# TEST_SLOW=1 says that this is a sanitizer build: everything is given ten times as long.
set -u
slower=1
[ -z "${TEST_SLOW:-}" ] || slower=10
export CK_TIMEOUT_MULTIPLIER=$slower
passed=0 failed=0 skipped=0

number() { printf '%s' "$1" | grep -oE "[0-9]+ $2" | head -n 1 | cut -d' ' -f1; }

run_program() {
    began=$(date +%s)
    out=$(timeout $((540 * slower)) "$1" 2>&1)
    rc=$?
    took=$(($(date +%s) - began))
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
for program in "$@"; do
    run_program "$program"
done
[ -n "$api" ] && run_api
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

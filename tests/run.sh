#!/bin/sh
# tests/run.sh PROGRAM... - runs the C test programs (Check prints
# "NN%: Checks: n, Failures: n, Errors: n") and adds their counts up.
passed=0 failed=0 skipped=0
for t in "$@"; do
    out=$(timeout "${TEST_TIMEOUT:-300}" "$t" 2>&1); rc=$?
    line=$(printf '%s\n' "$out" | grep -E '^[0-9]+%: Checks: ' | tail -n 1)
    set -- $(printf '%s' "$line" | tr -c '0-9' ' ')
    n=${2:-0} bad=$(( ${3:-0} + ${4:-0} ))
    s=$(printf '%s\n' "$out" | grep -c '^skip: ')
    if [ -z "$line" ] || { [ $rc -ne 0 ] && [ $bad -eq 0 ]; }; then bad=$((bad + 1)); fi
    if [ $bad -gt 0 ]; then printf '%s\n' "$out"; echo "FAILED $t (exit $rc)"; else printf 'ok %-50s %s\n' "$t" "$line"; printf '%s\n' "$out" | grep '^skip: '; fi
    passed=$((passed + (n > bad ? n - bad : 0))) failed=$((failed + bad)) skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]

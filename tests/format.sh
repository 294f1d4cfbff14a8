#!/bin/sh
# tests/format.sh - checks how lines are laid out (CONTRIBUTING.md, "Habits") in every C, CUDA, Python, shell and make
# file: at most 120 characters a line, no white space at its end, no tabs in C, CUDA and Python. Prints every line that
# breaks a rule; exit 1 if there is one. Two kinds of line may be longer: one that holds a web address, which cannot be
# cut, and one of the files below, which hold other people's text (chat templates, expressions) with the line ends that
# it has.
set -u
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8                 # grep counts characters, not bytes
tab=$(printf '\t')
code='*.c *.h *.inc *.cu *.cuh *.cc *.py'
verbatim='tests/template/(families|make_cases)\.py'

files() { # PATTERN...: the files of that name, without what was built and hidden folders
    for pattern in "$@"; do
        find . -path ./build -prune -o -path './.*' -prune -o -type f -name "$pattern" -print
    done | sed 's|^\./||' | sort
}

lines() { # REGEX SAYING: prints where a line of the files on standard input matches, and what is wrong with it
    xargs grep -nE "$1" /dev/null | grep -vE 'https?://' | sed -E "s/^([^:]*:[0-9]+):.*/\\1: $2/"
}

set -f                                # the patterns are for find, not for the shell
# shellcheck disable=SC2086
broken=$(
    files $code '*.sh' '*.mk' Makefile | grep -vxE "$verbatim" | lines '^.{121,}' 'longer than 120 characters'
    files $code '*.sh' '*.mk' Makefile | lines '[[:space:]]+$' 'ends in white space'
    files $code | lines "$tab" 'holds a tab'
)
[ -z "$broken" ] && { echo "format: every line is laid out as it should be"; exit 0; }
printf '%s\n' "$broken"
exit 1

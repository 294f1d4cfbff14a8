#!/bin/sh
# release/libraries.sh PROGRAM ROOT - the files in ROOT that the program needs, and those need in turn, a line each.
# What belongs to the C library is left out: a system has one, which fits its kernel and its name service.
set -eu
root=$2
seen=" "
waiting=$1
while [ -n "$waiting" ]; do
    next=
    for file in $waiting; do
        for name in $(objdump -p "$file" | awk '$1 == "NEEDED" { print $2 }'); do
            case $name in
            ld-linux* | libc.so.* | libm.so.* | libpthread.so.* | libdl.so.* | librt.so.* | libresolv.so.*) continue ;;
            esac
            case $seen in *" $name "*) continue ;; esac
            seen="$seen$name "
            found=
            for folder in "$root/usr/lib/x86_64-linux-gnu" "$root/lib/x86_64-linux-gnu"; do
                [ ! -e "$folder/$name" ] || { found=$folder/$name; break; }
            done
            [ -n "$found" ] || { echo "libraries: $root has no $name" >&2; exit 1; }
            echo "$found"
            next="$next $found"
        done
    done
    waiting=$next
done

#!/bin/sh
# release/rootfs.sh ROOT - makes ROOT, into which `make install PREFIX=/usr` has installed, a root of its own: the
# libraries that the program and its plug-in need, the loader, certificates, and what the C library asks for a user's
# name and a host's address. Strips what was installed.
set -eu
root=$1
for file in "$root"/usr/bin/*; do
    strip --strip-unneeded "$file"
    ldd "$file"
done | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
mkdir -p "$root/etc/ssl/certs" "$root/tmp" "$root/models" "$root/proc" "$root/dev" "$root/sys"
chmod 1777 "$root/tmp"
[ ! -f /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'openautoglm:x:65532:65532::/models:/nonexistent' >"$root/etc/passwd"
echo 'openautoglm:x:65532:' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
chown 65532:65532 "$root/models" 2>/dev/null ||
    echo "rootfs: /models belongs to $(id -un): nobody else can fetch into it" >&2
rm -rf "$root/usr/include" "$root/usr/lib/pkgconfig" "$root"/usr/lib/libopenautoglm.so*
rm -rf "$root/usr/share/man" "$root/usr/share/zsh" "$root/usr/share/bash-completion" "$root/usr/lib/systemd"

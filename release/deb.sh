#!/bin/sh
# release/deb.sh PROGRAM FOLDER VERSION - FOLDER/openautoglm_VERSION_ARCH.deb for the Debian that this is. What it
# depends on are the packages that the program's libraries are of.
set -eu
program=$1 out=$2 version=$3
arch=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
release/install.sh "$program" "$root" /usr
strip --strip-unneeded "$root/usr/bin/openautoglm" "$root"/usr/lib/libopenautoglm.so.[0-9]*
gzip -9n "$root/usr/share/man/man1/openautoglm.1"
mkdir -p "$root/usr/share/zsh/vendor-completions" "$root/DEBIAN" "$root/etc/default"
mv "$root/usr/share/zsh/site-functions/_openautoglm" "$root/usr/share/zsh/vendor-completions/"
rmdir "$root/usr/share/zsh/site-functions"
mv "$root/usr/share/doc/openautoglm/LICENSE" "$root/usr/share/doc/openautoglm/copyright"
echo '# Options of the server, for example: OPENAUTOGLM_PORT=8000' >"$root/etc/default/openautoglm"
echo /etc/default/openautoglm >"$root/DEBIAN/conffiles"

glibc=$(objdump -T "$program" | grep -o 'GLIBC_2\.[0-9]*' | sort -t. -k2n -u | tail -n 1 | cut -d_ -f2)
depends=$(objdump -p "$program" | awk '$1 == "NEEDED" { print $2 }' | while read -r library; do
    path=$(ldd "$program" | awk -v l="$library" '$1 == l { print $3 }')
    [ -z "$path" ] || dpkg-query -S "$(readlink -f "$path")" "$path" "/usr$path" 2>/dev/null | head -n 1 | cut -d: -f1
done | sort -u | while read -r package; do
    case $package in
    libc6) echo "libc6 (>= $glibc)" ;;
    *) echo "$package" ;;
    esac
done | paste -sd, | sed 's/,/, /g')
cat >"$root/DEBIAN/control" <<END
Package: openautoglm
Version: $version
Architecture: $arch
Maintainer: openautoglm <openautoglm@localhost>
Section: science
Priority: optional
Installed-Size: $(du -sk "$root/usr" | cut -f1)
Depends: $depends
Recommends: ca-certificates
Description: server for vision-language models
 Serves models that look at images and answer with text over the API of OpenAI,
 on the CPU or on NVIDIA GPUs. A small model for phone screens comes with it.
END
dpkg-deb --root-owner-group -Zxz -b "$root" "$out/openautoglm_${version}_$arch.deb" >/dev/null
echo "$out/openautoglm_${version}_$arch.deb: depends on $depends"

#!/bin/sh
# release/dist.sh PROGRAM ROOT FOLDER - makes FOLDER.tar.zst: the program, the libraries of ROOT that it needs beside
# it, and all that `make install` installs; SHA256SUMS and an SBOM lie within and beside. The same input gives the same
# bytes.
set -eu
program=$1 root=$2 folder=$3
version=$(cat VERSION)
rm -rf "$folder" "$folder.tar.zst"
mkdir -p "$folder/lib"
release/libraries.sh "$program" "$root" | while read -r library; do
    install -m 644 "$(readlink -f "$library")" "$folder/lib/$(basename "$library")"
done
# The program finds its libraries in ../lib from where it is, here too.
ln -sfn "$(realpath "$folder/lib")" "$(dirname "$program")/../lib"
release/install.sh "$program" "" "$folder"
rm "$(dirname "$program")/../lib"
strip --strip-unneeded -o "$folder/bin/openautoglm" "$program"
strip --strip-unneeded "$folder"/lib/libopenautoglm.so.[0-9]*
# shellcheck disable=SC2046
python3 release/sbom.py "$version" "$root" $(release/libraries.sh "$program" "$root") >"$folder/sbom.json"
mkdir -p "$folder/share/doc/openautoglm/libraries"
for package in $(sed -n 's/^   "name": "\(.*\)",$/\1/p' "$folder/sbom.json"); do
    [ ! -f "$root/usr/share/doc/$package/copyright" ] ||
        install -m 644 "$root/usr/share/doc/$package/copyright" "$folder/share/doc/openautoglm/libraries/$package"
done
sed -i 's|^ExecStart=.*/bin/|ExecStart=/opt/openautoglm/bin/|' "$folder/lib/systemd/system/openautoglm.service"
(cd "$folder" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
time=$(git log -1 --format=%ct 2>/dev/null || echo 0)
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$time" -C "$(dirname "$folder")" -cf - \
    "$(basename "$folder")" | zstd -q -19 -f -o "$folder.tar.zst"
cp "$folder/sbom.json" "$folder.sbom.json"
(cd "$(dirname "$folder")" && sha256sum "$(basename "$folder").tar.zst" "$(basename "$folder").sbom.json" >SHA256SUMS)
needs=$(objdump -T "$folder/bin/openautoglm" "$folder"/lib/*.so* | grep -o 'GLIBC_2\.[0-9]*' | sort -t. -k2n -u |
    tail -n 1)
echo "$folder.tar.zst: $(stat -c %s "$folder.tar.zst") bytes, needs $needs"

#!/bin/sh
# release/sysroot.sh DIR - the headers and libraries of Debian 11 (glibc 2.31), unpacked and not installed: those of
# setup.sh that building needs. jansson is Debian 12's, since we need 2.14; it asks for no newer C library. Links are
# made relative, so that a compiler finds what they mean within DIR. What was unpacked is noted as dpkg would, for the
# SBOM. Needs mmdebstrap with gpgv, and no rights.
set -eu
dir=$1
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
setup=$(dirname "$0")/../setup.sh
packages=linux-libc-dev,$(sed -n '/^build=/,/"$/p' "$setup" | grep -oE '[a-z0-9-]+-dev' | paste -sd,)

# shellcheck disable=SC2016
note='for deb in "$1"/var/cache/apt/archives/*.deb; do
    { dpkg-deb -f "$deb" Package Version Architecture; echo; } >>"$1/var/lib/dpkg/status"
    dpkg-deb -c "$deb" | awk "{ print substr(\$6, 2) }" >"$1/var/lib/dpkg/info/$(dpkg-deb -f "$deb" Package).list"
done'

unpack() { # SUITE PACKAGES DIR
    mmdebstrap --quiet --variant=extract --include="$2" --extract-hook="$note" "$1" "$3" "$mirror"
}

rm -rf "$dir" "$dir.newer"
mkdir -p "$(dirname "$dir")"
unpack bullseye "$packages" "$dir"
unpack bookworm libjansson-dev "$dir.newer"
(
    cd "$dir.newer"
    # shellcheck disable=SC2046
    cp -a --parents usr/include/jansson*.h $(find usr/lib -name '*jansson*') usr/share/doc/libjansson4 \
        var/lib/dpkg/info/libjansson4.list "$dir"
)
{
    awk -v RS= -v ORS='\n\n' '!/^Package: libjansson/' "$dir/var/lib/dpkg/status"
    awk -v RS= -v ORS='\n\n' '/^Package: libjansson/' "$dir.newer/var/lib/dpkg/status"
} >"$dir.status"
mv "$dir.status" "$dir/var/lib/dpkg/status"
rm -rf "$dir.newer"
find "$dir" -type l -lname '/*' | while read -r link; do
    ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$dir$(readlink "$link")")" "$link"
done
touch "$dir/ready"

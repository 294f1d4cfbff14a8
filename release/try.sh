#!/bin/sh
# release/try.sh TARBALL|DEB ROOT... - unpacks a release in the roots of other distributions, which mmdebstrap or
# debootstrap have made, and runs it there: the version, a question with an image, a server that becomes healthy and
# stops. Needs root.
#     mmdebstrap --variant=minbase bullseye roots/bullseye && release/try.sh build/openautoglm-*.tar.zst roots/bullseye
set -eu
release=$1
shift
image=models/open-autoglm-v1/samples/home-en.png
port=18790

try() { # ROOT PROGRAM
    inside() { unshare -m sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" "$@"; }
    root=$1 program=$2
    cp "$image" "$root/tmp/image.png"
    inside "$program" version
    echo "answer: $(inside "$program" chat --image /tmp/image.png 'Tap "Camera"' 2>&1)"
    # one process, so that its number is the server's
    unshare -m sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" "$program" serve --port $port \
        2>"$root/tmp/log" &
    server=$!
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        inside "$program" health --port $port >/dev/null && break
        sleep 1
    done
    inside "$program" health --port $port
    echo "https: $(inside env HF_HOME=/tmp/hf HF_ENDPOINT=https://127.0.0.1:9 "$program" pull a/b 2>&1)"
    kill $server
    wait $server && echo "stopped with status 0"
}

for root in "$@"; do
    name=$(. "$root/etc/os-release" && echo "$PRETTY_NAME")
    libc=$(find "$root/lib/x86_64-linux-gnu" "$root/usr/lib/x86_64-linux-gnu" -name 'libc.so.6' | head -n 1)
    echo "== $name, $(strings "$libc" | grep -o -m 1 'stable release version [0-9.]*[0-9]')"
    case $release in
    *.deb)
        cp "$release" "$root/tmp/openautoglm.deb"
        cp /etc/resolv.conf "$root/etc/resolv.conf"
        export DEBIAN_FRONTEND=noninteractive
        unshare -m sh -c 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" sh -c "
            apt-get update && apt-get install -y --no-install-recommends /tmp/openautoglm.deb"' "$root" \
            >"$root/tmp/apt" 2>&1
        try "$root" /usr/bin/openautoglm
        ;;
    *)
        rm -rf "$root/opt/openautoglm"
        mkdir -p "$root/opt/openautoglm"
        zstd -dc "$release" | tar -xf - -C "$root/opt/openautoglm" --strip-components=1
        (cd "$root/opt/openautoglm" && sha256sum --quiet -c SHA256SUMS)
        try "$root" /opt/openautoglm/bin/openautoglm
        ;;
    esac
done

#!/bin/sh
# cli/demo.sh [SCREENSHOT QUESTION] - starts the server on the default model, POSTs a screenshot with curl, prints the
# request, the streamed answer and the timings, and writes a copy of the screenshot with the tap marked on it. Without
# arguments: the model's first sample. Needs curl, nothing else.
set -eu
cd "$(dirname "$0")/.."
bin=${OPENAUTOGLM_BIN:-build/openautoglm}
model=models/open-autoglm-v1
samples=$model/samples/samples.json
field() { sed -n "s/^ *\"$1\": \"\(.*\)\",*\$/\1/p" "$samples" | head -n 1; }
shot=${1:-$model/samples/$(field file)}
out=build/demo.png
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

now() { date +%s%N; }
ms() { echo $((($2 - $1) / 1000000)); }

: >"$work/out" >"$work/log"
began=$(now)
"$bin" serve --model "$model" --host 127.0.0.1 --port 0 >"$work/out" 2>"$work/log" &
server=$!
url=
while [ -z "$url" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    url=$(sed -n 's/.*listening on \(http[^ "]*\).*/\1/p' "$work/log" "$work/out" | head -n 1)
    [ -n "$url" ] || sleep 0.02
done
until curl -sf "$url/ready" >/dev/null; do
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.02
done
echo "server: $url, ready after $(ms "$began" "$(now)") ms"

# The question as it stands in JSON: the sample's, or the one that was given.
if [ $# -ge 2 ]; then text=$(printf '%s' "$2" | sed 's/\\/\\\\/g; s/"/\\"/g'); else text=$(field question); fi
{
    printf '{"model": "open-autoglm-v1", "stream": true, "temperature": 0, "messages": [{"role": "user", "content": ['
    printf '{"type": "image_url", "image_url": {"url": "data:image/png;base64,'
    base64 -w0 "$shot"
    printf '"}}, {"type": "text", "text": "%s"}]}]}' "$text"
} >"$work/body.json"
echo
echo "POST $url/v1/chat/completions"
sed 's/\(base64,.\{24\}\)[^"]*/\1.../' "$work/body.json"
echo
echo
asked=$(now)
curl -sN "$url/v1/chat/completions" -H 'Content-Type: application/json' --data-binary @"$work/body.json" |
    tee "$work/answer"
answered=$(now)

# The text is put together from the deltas of the stream.
answer=$(sed -n 's/^data: .*"delta":{[^}]*"content":"\(\([^"\\]\|\\.\)*\)".*/\1/p' "$work/answer" | tr -d '\n' |
    sed 's/\\"/"/g; s/\\\\/\\/g')
echo "answer: $answer"
echo "time from request to the end of the answer: $(ms "$asked" "$answered") ms"
curl -s "$url/metrics" | sed -n 's/^openautoglm_time_to_first_token_seconds_sum \(.*\)/time to first token: \1 s/p'
case $answer in
*=\[*)
    "$bin" mark "$shot" "$answer" "$out"
    echo "the tap is marked on $out"
    ;;
*) echo "the answer names no point: nothing to mark" ;;
esac

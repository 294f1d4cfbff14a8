"""The HTTP side of it: methods, paths, limits, metrics, information for routers."""

import gzip
import http.client
import json
import re
import socket
import subprocess
from pathlib import Path

import pytest

from conftest import BIN, PATIENCE, ROOT, ask


def test_head_and_methods(server):
    status, headers, body = server.request("HEAD", "/v1/models")
    assert status == 200 and body == b"" and int(headers["content-length"]) > 50
    status, headers, body = server.request("PUT", "/v1/chat/completions", "{}")
    assert status == 405 and headers["allow"] == "POST" and json.loads(body)["error"]["code"] == "method_not_allowed"
    status, headers, _ = server.request("POST", "/v1/models", "{}")
    assert status == 405 and headers["allow"] == "GET, HEAD"
    status, _, body = server.get("/v1/nothing?x=1")
    assert status == 404 and json.loads(body)["error"]["code"] == "not_found"
    assert server.get("/")[0] == 200


def test_request_id(server):
    assert server.get("/health", **{"X-Request-Id": "abc/1:2"})[1]["x-request-id"] == "abc/1:2"
    made = server.get("/health", **{"X-Request-Id": "no spaces allowed"})[1]["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_session_id(server):
    """It is told back, also with an error, as far as it is harmless; and it separates nothing."""
    for path in ("/health", "/nowhere"):
        assert server.get(path, **{"X-Session-ID": "chat-1:" + "x" * 121})[1]["x-session-id"] == "chat-1:" + "x" * 121
    for wrong in ("x" * 129, "two words", "", "a\"b"):
        assert "x-session-id" not in server.get("/health", **{"X-Session-ID": wrong})[1]
    assert "x-session-id" not in server.get("/health")[1]
    before = server.metrics()["openautoglm_cached_tokens_total"]
    body = {"messages": [{"role": "user", "content": "sessions " * 40}], "max_tokens": 1}
    for session in ("a", "b"):
        assert server.post("/v1/chat/completions", body, **{"X-Session-ID": session})[0] == 200
    assert server.metrics()["openautoglm_cached_tokens_total"] - before >= 32


def test_keep_alive(server):
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    c.connect()
    sock = c.sock
    for _ in range(3):
        c.request("POST", "/v1/chat/completions",
                  json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}))
        assert c.getresponse().read()
        c.request("POST", "/v1/chat/completions", "{")
        assert c.getresponse().read() and c.sock is sock
    c.close()


def test_large_bodies(start):
    s = start("--max-body-bytes", "2M", "--max-body-total", "8M")
    status, _, body = s.request("POST", "/v1/chat/completions", b" " * (3 << 20))
    assert status == 413 and json.loads(body)["error"]["code"] == "request_too_large"
    assert s.request("POST", "/v1/chat/completions", b" " * (1 << 20) + b"{}")[0] == 400
    c = socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE)
    c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\nExpect: "
              b"100-continue\r\n\r\n")
    assert c.recv(4096).startswith(b"HTTP/1.1 413")
    c.close()
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}).encode()
    c = socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE)
    c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" %
              len(body))
    assert c.recv(4096).startswith(b"HTTP/1.1 100")
    c.sendall(body)
    assert c.recv(4096).startswith(b"HTTP/1.1 200")
    c.close()


def test_whole_urls(server):
    for target, status in (("http://x/health", 200), ("HTTPS://x:1/health?a=b", 200), ("http://x", 200), ("http://x/nowhere", 404)):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as c:
            c.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target.encode())
            assert c.recv(4096).startswith(b"HTTP/1.1 %d" % status), target


# What OpenAI's JavaScript client asks a browser to send.
OPENAI_JS = ("authorization,content-type,openai-organization,openai-project,user-agent,x-stainless-arch,"
             "x-stainless-lang,x-stainless-os,"
             "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,"
             "x-stainless-timeout")


def preflight(server, origin, *, path="/v1/chat/completions", asks=OPENAI_JS):
    return server.request("OPTIONS", path, headers={
        "Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asks})


def test_no_origins(server):
    status, headers, _ = preflight(server, "http://a")
    assert status == 405 and not [name for name in headers if name.startswith("access-control") or name == "vary"]


def test_one_origin(start):
    s = start("--allow-origin", "http://a", "--api-key", "k")
    status, headers, body = preflight(s, "http://a")
    assert status == 204 and body == b"" and "content-length" not in headers
    assert headers["access-control-allow-origin"] == "http://a" and headers["vary"] == "Origin"
    assert "POST" in headers["access-control-allow-methods"] and headers["access-control-allow-headers"] == OPENAI_JS
    status, headers, _ = s.get("/v1/models", Origin="http://a")                       # an error that the page can read
    assert status == 401 and headers["access-control-allow-origin"] == "http://a"
    exposed = headers["access-control-expose-headers"].split(", ")
    assert exposed[:3] == ["X-Request-Id", "Retry-After", "X-Session-ID"] and "x-ratelimit-reset-tokens" in exposed
    assert s.get("/v1/models")[1]["access-control-allow-origin"] == "http://a"
    names = preflight(s, "http://a", asks='x: "y"')[1]["access-control-allow-headers"]   # no list of names: not sent back
    assert '"' not in names and "Authorization" in names


def test_several_origins(start):
    s = start("--allow-origin", "http://a, https://b:443/", "--allow-origin", "http://localhost:5173")
    for origin in ("http://a", "https://b", "http://localhost:5173"):
        for headers in (preflight(s, origin)[1], s.get("/health", Origin=origin)[1]):
            assert headers["access-control-allow-origin"] == origin and headers["vary"] == "Origin"
    for origin in ("http://c", "http://a:81", "https://a", "http://a,https://b"):
        for headers in (preflight(s, origin)[1], s.get("/health", Origin=origin)[1], s.get("/health")[1]):
            assert "access-control-allow-origin" not in headers and headers["vary"] == "Origin"


def test_any_origin(start):
    headers = preflight(start("--allow-origin", "*"), "http://a")[1]
    assert headers["access-control-allow-origin"] == "*" and "vary" not in headers


@pytest.mark.parametrize("origin", ["localhost:5173", "http://a/b", "http://", "https://a;http://b c"])
def test_what_is_no_origin(origin):
    out = subprocess.run([BIN, "serve", "--port", "0", "--allow-origin", origin], capture_output=True, text=True,
                         timeout=PATIENCE)
    assert out.returncode == 2 and "option allow-origin" in out.stderr and origin in out.stderr


BODIES = [("/v1/chat/completions", {"messages": [{"role": "user", "content": "Tap OK"}], "max_tokens": 1}),
          ("/v1/completions", {"prompt": "Tap", "max_tokens": 1}), ("/tokenize", {"prompt": "Tap"}),
          ("/detokenize", {"tokens": [5]})]


@pytest.mark.parametrize("path, body", BODIES)
def test_encoded_bodies(server, path, body):
    plain = json.dumps(body).encode()
    for encoding in ("gzip", "br", "deflate", "GZIP", "gzip, gzip", "identity, gzip", "aes128gcm"):
        status, headers, out = server.request("POST", path, gzip.compress(plain), {"Content-Encoding": encoding})
        error = json.loads(out)["error"]
        assert (status == 415 and "Content-Encoding: " + encoding in error["message"] and headers["accept-encoding"] ==
                "identity")
        assert error["type"] == "invalid_request_error" and error["code"] == "unsupported_encoding"
    for encoding in ("identity", "Identity", ""):
        assert server.request("POST", path, plain, {"Content-Encoding": encoding})[0] == 200


@pytest.mark.parametrize("path, body", BODIES)
def test_a_byte_order_mark(server, path, body):
    mark, plain = b"\xef\xbb\xbf", json.dumps(body).encode()
    assert server.request("POST", path, mark + plain)[0] == 200
    for wrong in (mark, mark + mark + plain, mark[:2] + plain, b" " + mark + plain):
        assert server.request("POST", path, wrong)[0] == 400


def test_metrics(server, client):
    before = server.metrics()
    client.chat.completions.create(model="open-autoglm-v1", messages=ask("Tap", 9), max_tokens=4,
                                   extra_body={"ignore_eos": True})
    server.get("/nowhere")
    after = server.metrics()

    def grew(name):
        return after[name] - before.get(name, 0)

    label = '{model_name="open-autoglm-v1"}'
    assert grew("openautoglm_completion_tokens_total") == 4 == grew("vllm:generation_tokens_total" + label)
    assert (grew("vllm:time_to_first_token_seconds_count" + label) == 1 ==
            grew("openautoglm_time_to_first_token_seconds_count"))
    assert grew('vllm:request_success_total{finished_reason="length",model_name="open-autoglm-v1"}') == 1
    assert grew('openautoglm_http_requests_total{method="POST",route="/v1/chat/completions",status="200"}') == 1
    assert grew('openautoglm_http_requests_total{method="other",route="other",status="404"}') == 1
    for name in ("time_to_first_token_seconds", "inter_token_latency_seconds", "time_per_output_token_seconds",
                 "request_time_per_output_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds",
                 "request_prefill_time_seconds", "request_decode_time_seconds", "request_inference_time_seconds",
                 "iteration_tokens_total", "request_prompt_tokens", "request_generation_tokens",
                 "request_params_max_tokens", "request_params_n", "request_max_num_generation_tokens"):
        assert grew(f"vllm:{name}_count" + label) >= 1, name
    assert grew("vllm:request_generation_tokens_sum" + label) == 4 == grew("vllm:request_params_max_tokens_sum" + label)
    assert grew("vllm:request_params_n_sum" + label) == 1
    prompts = grew("vllm:prompt_tokens_total" + label)
    assert grew("vllm:request_prompt_tokens_sum" + label) == prompts > 4
    computed = prompts - grew("vllm:prompt_tokens_cached_total" + label) + 3        # the last token is not read again
    assert grew("vllm:iteration_tokens_total_sum" + label) == computed
    assert grew('vllm:request_generation_tokens_bucket{model_name="open-autoglm-v1",le="5"}') == 1
    assert grew('vllm:request_generation_tokens_bucket{model_name="open-autoglm-v1",le="2"}') == 0
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "gpu_cache_usage_perc",
                 "num_preemptions_total", "prompt_tokens_total", "prefix_cache_queries_total", "mm_cache_hits_total"):
        assert "vllm:" + name + label in after
    text = server.get("/metrics")[2].decode()
    names = re.findall(r"^# TYPE (\S+) ", text, re.M)
    assert len(names) == len(set(names))
    buckets = [int(x) for x in re.findall(r'^openautoglm_e2e_request_latency_seconds_bucket\{le="[^"]+"\} (\d+)$',
                                          text, re.M)]
    assert len(buckets) == 21 and buckets == sorted(buckets)


def test_the_longest_of_several_answers(server, client):
    before = server.metrics()
    out = client.chat.completions.create(model="open-autoglm-v1", messages=ask("Tap", 9), n=4, max_tokens=30,
                                         temperature=2, seed=2, logprobs=True)
    # The token that ends an answer counts, but has no logprobs.
    lengths = [len(c.logprobs.content) + (c.finish_reason == "stop") for c in out.choices]
    assert sum(lengths) == out.usage.completion_tokens and min(lengths) < max(lengths)
    after, label = server.metrics(), '{model_name="open-autoglm-v1"}'
    for name, sums, count in (("request_max_num_generation_tokens", max(lengths), 1),
                              ("request_generation_tokens", sum(lengths), 4)):
        assert after[f"vllm:{name}_sum" + label] - before[f"vllm:{name}_sum" + label] == sums, name
        assert after[f"vllm:{name}_count" + label] - before[f"vllm:{name}_count" + label] == count, name


def test_information(server):
    info = json.loads(server.get("/model_info")[2])
    assert info == json.loads(server.get("/get_model_info")[2])
    assert info["served_model_name"] == "open-autoglm-v1" and info["is_generation"] and info["max_model_len"] > 0
    info = json.loads(server.get("/server_info")[2])
    assert info == json.loads(server.get("/get_server_info")[2])
    assert info["tp_size"] == 1 and info["max_running_requests"] == 32 and "api_key" not in info
    (load,) = json.loads(server.get("/get_load")[2])
    assert load["num_reqs"] == 0


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty",
                                  "repetition_penalty"])
def test_openapi_names_the_fields(name):
    assert re.search(rf"^ +{name}:", (ROOT / "openapi.yaml").read_text(), re.M)

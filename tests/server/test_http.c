/* The HTTP layer on a fake engine: many connections, slow and vanishing
 * clients, limits, streams. Clients are plain sockets. */
#include "tests/server/fake_engine.c"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "server/app.h"
#include "server/reply.h"
#include "server/routes.h"
#include "tests/suite.h"

static struct app    app;
static struct config cfg;
static struct engine *engine;

static void start(char *option, ...)
{
    char   *argv[16] = { "serve", "--served-model-name", "fake,other" };
    int     argc = 3;
    struct err e;
    va_list ap;
    va_start(ap, option);
    for (char *o = option; o; o = va_arg(ap, char *))
        argv[argc++] = o;
    va_end(ap);
    signal(SIGPIPE, SIG_IGN);
    ck_assert_msg(options_parse(&cfg, OPT_SERVER | OPT_ENGINE, argc, argv, &e) == 0, "%s", e.text);
    cfg.max_body_total = cfg.max_body_total ? cfg.max_body_total : 384 << 20;
    fake_token_seconds = 0.002;
    fake_prefill_seconds = 0;
    fake_max_live = 1 << 20;
    atomic_store(&fake_cancelled, 0);
    app_init(&app, &cfg);
    struct http_options opt = {
        .host = "127.0.0.1", .port = 0, .max_connections = cfg.max_connections, .idle_timeout = cfg.idle_timeout,
        .read_timeout = cfg.read_timeout, .write_timeout = cfg.write_timeout, .max_body_total = cfg.max_body_total,
        .answers = &app.answers, .retry_after = app_retry_after,
        .ctx = &app, .begin = routes_begin, .handle = routes_handle, .done = routes_done,
    };
    app.http = http_start(&opt, &e);
    ck_assert_msg(app.http != NULL, "%s", e.text);
    engine = engine_open(NULL, NULL);
    atomic_store(&app.engine, engine);
    atomic_store(&app.state, APP_READY);
}

static void stop(void)
{
    http_stop(app.http);
    engine_close(engine);
    ck_assert_int_eq(atomic_load(&app.inflight), 0);
    ck_assert_int_eq(atomic_load(&fake_live), 0);
    app_free(&app);
    options_free(&cfg);
}

/* ---- a client ---- */

static int dial(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)http_port(app.http)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static void send_all(int fd, const char *s, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, s, n, MSG_NOSIGNAL);
        ck_assert_int_gt(k, 0);
        s += k;
        n -= (size_t)k;
    }
}

static void send_text(int fd, const char *s) { send_all(fd, s, strlen(s)); }

static void send_post(int fd, const char *path, const char *headers, const char *body, size_t n)
{
    char head[512];
    int  k = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n", path, headers,
                      n);
    send_all(fd, head, (size_t)k);
    send_all(fd, body, n);
}

/* Reads until `until` was seen, the end, or ten seconds without a byte. */
static char *receive(int fd, const char *until)
{
    struct buf b;
    buf_init(&b, 16 << 20);
    buf_str(&b, "");
    for (;;) {
        char part[4096];
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if ((until && b.data && strstr(b.data, until)) || poll(&p, 1, 10000) <= 0)
            break;
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n <= 0)
            break;
        buf_add(&b, part, (size_t)n);
    }
    char *s = buf_take(&b);
    return s ? s : xstrdup("");
}

static const char CHAT[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":%d,\"stream\":%s}";

static void send_chat(int fd, int tokens, bool stream)
{
    char body[256];
    int  n = snprintf(body, sizeof body, CHAT, tokens, stream ? "true" : "false");
    send_post(fd, "/v1/chat/completions", "", body, (size_t)n);
}

/* One request on a connection of its own; the answer's status. */
static int ask(const char *request, char **answer)
{
    int   fd = dial();
    send_all(fd, request, strlen(request));
    char *s = receive(fd, NULL);
    close(fd);
    int status = strlen(s) > 12 ? atoi(s + 9) : 0;
    if (answer)
        *answer = s;
    else
        free(s);
    return status;
}

static double health_seconds(int fd)
{
    static const char get[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    double t = clock_seconds();
    send_all(fd, get, sizeof get - 1);
    char *s = receive(fd, "\"ready\"}");
    ck_assert_msg(strstr(s, "200 OK") != NULL, "%s", s);
    free(s);
    return clock_seconds() - t;
}

static void wait_until(_Atomic int *value, int wanted)
{
    double until = clock_seconds() + 60;
    while (atomic_load(value) != wanted && clock_seconds() < until)
        usleep(2000);
    ck_assert_int_eq(atomic_load(value), wanted);
}

/* ---- tests ---- */

START_TEST(whole_answer)
{
    start(NULL);
    int fd = dial();
    for (int i = 0; i < 3; i++) {          /* the connection is kept */
        send_chat(fd, 5, false);
        char *s = receive(fd, "}}}");
        ck_assert_msg(strstr(s, "200 OK") && strstr(s, "\"content\":\"w0 w1 w2 w3 w4 \"") &&
                      strstr(s, "\"finish_reason\":\"length\"") && strstr(s, "\"total_tokens\":15"), "%s", s);
        free(s);
    }
    close(fd);
    stop();
}
END_TEST

START_TEST(streamed_answer)
{
    start(NULL);
    int fd = dial();
    fake_token_seconds = 0.05;
    send_chat(fd, 5, true);
    char *s = receive(fd, "[DONE]\n\n\r\n0\r\n\r\n");
    ck_assert_msg(strstr(s, "text/event-stream") && strstr(s, "\"role\":\"assistant\"") &&
                  strstr(s, "data: [DONE]\n\n"), "%s", s);
    int frames = 0;
    for (char *p = s; (p = strstr(p, "data: {")) != NULL; p++)
        frames++;
    ck_assert_int_ge(frames, 3);    /* the role, some text, the end */
    ck_assert_ptr_null(strstr(s, "\"choices\":[]"));
    free(s);
    close(fd);
    stop();
}
END_TEST

START_TEST(statuses)
{
    start("--api-key", "secret", NULL);
    static const struct { const char *request; int status; const char *holds; } cases[] = {
        { "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, "\"ok\"" },
        { "HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, "Content-Length: 31" },
        { "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 401, "invalid_api_key" },
        { "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secre\r\nConnection: close\r\n\r\n", 401,
          "WWW-Authenticate" },
        { "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secrets\r\nConnection: close\r\n\r\n", 401, "" },
        { "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\n\r\n", 200,
          "\"fake\"" },
        { "GET /v1/models/other HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\n\r\n", 200,
          "\"other\"" },
        { "GET /v1/models/none HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\n\r\n", 404,
          "model_not_found" },
        { "GET /nothing HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\n\r\n", 404,
          "not_found" },
        { "DELETE /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\n\r\n", 405,
          "Allow: GET, HEAD" },
        { "OPTIONS /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\n\r\n", 405,
          "Allow: GET, HEAD" },
        { "GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: abc-1\r\nConnection: close\r\n\r\n", 200,
          "X-Request-Id: abc-1\r\n" },
        { "GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: a b\r\nConnection: close\r\n\r\n", 200, "X-Request-Id: " },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *s;
        int   status = ask(cases[i].request, &s);
        ck_assert_msg(status == cases[i].status && strstr(s, cases[i].holds), "%s -> %s", cases[i].request, s);
        ck_assert_msg(strstr(s, "a b") == NULL, "%s", s);
        free(s);
    }
    stop();
}
END_TEST

START_TEST(crowd)
{
    enum { IDLE = 2000, STREAMS = 256, SLOW = 32 };
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int idle = files.rlim_cur > 8192 ? IDLE : 200;
    start("--idle-timeout", "3600", NULL);      /* a busy machine may take its time */
    int *fd = xcalloc((size_t)idle, sizeof *fd), streams[STREAMS], slow[SLOW];
    for (int i = 0; i < idle; i++) {
        fd[i] = dial();
        health_seconds(fd[i]);
    }
    fake_token_seconds = 0.05;
    for (int i = 0; i < SLOW; i++) {       /* these never read */
        int small = 2048;
        slow[i] = dial();
        setsockopt(slow[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        send_chat(slow[i], 100000, true);
    }
    for (int i = 0; i < STREAMS; i++) {
        streams[i] = dial();
        send_chat(streams[i], 40, true);
    }
    double worst = 0;
    for (int i = 0; i < 40; i++) {
        double t = health_seconds(fd[i]);
        worst = t > worst ? t : worst;
        usleep(10000);
    }
    for (int i = 0; i < STREAMS; i++) {
        char *s = receive(streams[i], "[DONE]");
        ck_assert_msg(strstr(s, "w39 ") && strstr(s, "[DONE]"), "%s", s);
        free(s);
        close(streams[i]);
    }
    ck_assert_int_ge(http_connections(app.http), idle);
    printf("worst /health among %d idle, %d streams, %d that do not read: %.1f ms\n", idle, STREAMS, SLOW, worst * 1e3);
    ck_assert_msg(worst < 5, "%f", worst);
    for (int i = 0; i < SLOW; i++)
        close(slow[i]);
    wait_until(&fake_live, 0);             /* the slow ones' places are free again */
    for (int i = 0; i < idle; i++)
        close(fd[i]);
    free(fd);
    stop();
}
END_TEST

START_TEST(vanishing_clients)
{
    start(NULL);
    fake_prefill_seconds = 60;             /* still in the queue, so to speak */
    for (int stream = 0; stream < 2; stream++) {
        int fd = dial();
        send_chat(fd, 5, stream);
        wait_until(&fake_live, 1);
        close(fd);
        wait_until(&fake_live, 0);
    }
    fake_prefill_seconds = 0;
    fake_token_seconds = 0.02;
    int fd = dial();
    send_chat(fd, 100000, true);
    free(receive(fd, "w3 "));
    close(fd);
    wait_until(&fake_live, 0);
    ck_assert_int_eq(atomic_load(&fake_cancelled), 3);
    stop();
}
END_TEST

START_TEST(comments_while_waiting)
{
    start("--keepalive-seconds", "0.1", NULL);
    fake_prefill_seconds = 0.6;
    int fd = dial();
    send_chat(fd, 2, true);
    char *s = receive(fd, "[DONE]");
    char *comment = strstr(s, ": keep-alive\n\n"), *first = strstr(s, "data: ");
    ck_assert_msg(comment && first && comment < first, "%s", s);
    free(s);
    close(fd);
    stop();
}
END_TEST

START_TEST(timeouts)
{
    start("--idle-timeout", "0.3", "--read-timeout", "0.5", NULL);
    double t = clock_seconds();
    int idle = dial(), trickle = dial(), body = dial();
    send_text(trickle, "GET /health HTTP/1.1\r\nHost: x\r\n");
    send_text(body, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    bool open[3] = { true, true, true };
    int  fds[3] = { idle, trickle, body };
    while ((open[0] || open[1] || open[2]) && clock_seconds() - t < 15) {
        for (int i = 0; i < 3; i++) {
            char c;
            if (open[i] && i > 0 && send(fds[i], i == 1 ? "X" : " ", 1, MSG_NOSIGNAL) < 0)
                open[i] = false;
            ssize_t n = recv(fds[i], &c, 1, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN))
                open[i] = false;
        }
        usleep(50000);
    }
    ck_assert(!open[0] && !open[1] && !open[2]);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    stop();
}
END_TEST

/* A client that asks for much and takes nothing is dropped, and its request with it. */
START_TEST(write_timeout)
{
    start("--write-timeout", "0.5", NULL);
    fake_token_seconds = 0;
    int fd = dial(), small = 2048;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":40000,"
                               "\"logprobs\":true,\"top_logprobs\":1}";
    send_post(fd, "/v1/chat/completions", "", body, sizeof body - 1);
    double until = clock_seconds() + 60;
    while (http_connections(app.http) == 0 && clock_seconds() < until)
        usleep(1000);
    while (http_connections(app.http) > 0 && clock_seconds() < until)
        usleep(10000);
    ck_assert_int_eq(http_connections(app.http), 0);
    close(fd);
    stop();
}
END_TEST

/* One that reads slowly, but does read, gets all of a long answer: far longer than the timeout. */
START_TEST(steady_reader)
{
    start("--write-timeout", "1.5", NULL);
    fake_token_seconds = 0;
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":60000,"
                               "\"logprobs\":true,\"top_logprobs\":1}";
    int fd = dial(), small = 32 << 10;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    send_post(fd, "/v1/chat/completions", "Connection: close\r\n", body, sizeof body - 1);
    char *part = xcalloc(1, 80 << 10), *head = receive(fd, "Content-Length: ");
    size_t length = strtoul(strstr(head, "Content-Length: ") + 16, NULL, 10),
        got = strlen(strstr(head, "\r\n\r\n") + 4);
    ck_assert_uint_gt(length, 6000000);
    free(head);
    for (ssize_t n; (n = recv(fd, part, 80 << 10, 0)) > 0; got += (size_t)n)
        usleep(30 * 1000);
    ck_assert_uint_eq(got, length);
    free(part);
    close(fd);
    stop();
}
END_TEST

START_TEST(body_limits)
{
    start("--max-body-bytes", "100000", "--max-body-total", "150000", NULL);
    char *big = xcalloc(1, 200001), *s;
    memset(big, ' ', 200000);
    int fd = dial();
    send_post(fd, "/v1/chat/completions", "Connection: close\r\n", big, 200000);
    s = receive(fd, NULL);
    ck_assert_msg(strstr(s, " 413 ") && strstr(s, "request_too_large"), "%s", s);
    free(s);
    close(fd);
    /* told before it is sent, to those who ask */
    fd = dial();
    const char *expect = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\nExpect: "
                         "100-continue\r\n\r\n";
    send_all(fd, expect, strlen(expect));
    s = receive(fd, "}}");
    ck_assert_msg(strstr(s, " 413 ") && !strstr(s, "100 Continue"), "%s", s);
    free(s);
    close(fd);
    /* two that are allowed alone, but not together */
    int first = dial();
    const char *half = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n";
    send_all(first, half, strlen(half));
    usleep(100000);
    fd = dial();                            /* what is only announced takes no room */
    send_post(fd, "/v1/chat/completions", "Connection: close\r\n", big, 90000);
    s = receive(fd, NULL);
    ck_assert_msg(strstr(s, " 400 ") != NULL, "%s", s);
    free(s);
    close(fd);
    send_all(first, big, 80000);
    usleep(200000);
    fd = dial();
    send_post(fd, "/v1/chat/completions", "Connection: close\r\n", big, 90000);
    s = receive(fd, NULL);
    ck_assert_msg(strstr(s, " 503 ") && strstr(s, "Retry-After"), "%s", s);
    free(s);
    close(fd);
    close(first);
    usleep(200000);
    /* the room is free again; chunked bodies count as well */
    fd = dial();
    send_post(fd, "/v1/chat/completions", "Connection: close\r\n", big, 90000);
    s = receive(fd, NULL);
    ck_assert_msg(strstr(s, " 400 ") != NULL, "%s", s);
    free(s);
    close(fd);
    fd = dial();
    const char *chunked = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
                          "chunked\r\nConnection: close\r\n\r\n1d4c0\r\n";
    send_all(fd, chunked, strlen(chunked));
    send_all(fd, big, 0x1d4c0);
    send_all(fd, "\r\n0\r\n\r\n", 7);
    s = receive(fd, NULL);
    ck_assert_msg(strstr(s, " 413 ") != NULL, "%s", s);
    free(s);
    close(fd);
    free(big);
    stop();
}
END_TEST

/* Large answers that nobody takes have a limit, too. */
START_TEST(answer_limits)
{
    start("--max-body-total", "15000000", NULL);
    fake_token_seconds = 0;
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":40000,"
                               "\"logprobs\":true,\"top_logprobs\":1}";
    int slow[16], n = 0, status = 200;
    for (; n < 16 && status == 200; n++) {
        int small = 2048;
        slow[n] = dial();
        setsockopt(slow[n], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        send_post(slow[n], "/v1/chat/completions", "", body, sizeof body - 1);
        char *s = receive(slow[n], "\r\n\r\n");
        status = atoi(s + 9);
        free(s);
    }
    ck_assert_int_eq(status, 503);
    ck_assert_int_gt(n, 1);
    int fd = dial();
    send_chat(fd, 5, false);               /* a small one finds its place */
    char *s = receive(fd, "}}}");
    ck_assert_msg(strstr(s, "200 OK") != NULL, "%s", s);
    free(s);
    close(fd);
    while (n)
        close(slow[--n]);
    double until = clock_seconds() + 60;
    while (http_connections(app.http) > 0 && clock_seconds() < until)
        usleep(10000);
    fd = dial();                           /* and now there is room again */
    send_post(fd, "/v1/chat/completions", "", body, sizeof body - 1);
    s = receive(fd, "\r\n\r\n");
    ck_assert_msg(strstr(s, "200 OK") != NULL, "%s", s);
    free(s);
    close(fd);
    stop();
}
END_TEST

START_TEST(failures_and_queue)
{
    start("--max-num-seqs", "1", "--max-queue", "1", NULL);
    static const char fail[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"fail\"}],\"stream\":true}";
    int fd = dial();
    send_post(fd, "/v1/chat/completions", "", fail, strlen(fail));
    char *s = receive(fd, "}}");
    ck_assert_msg(strstr(s, " 500 ") && strstr(s, "the device is lost") && strstr(s, "application/json"), "%s", s);
    free(s);
    fake_prefill_seconds = 30;
    int busy[2] = { dial(), dial() };
    for (int i = 0; i < 2; i++)
        send_chat(busy[i], 1, i);
    wait_until(&fake_live, 2);
    send_chat(fd, 1, false);
    s = receive(fd, "}}");
    ck_assert_msg(strstr(s, " 429 ") && strstr(s, "Retry-After: "), "%s", s);
    free(s);
    atomic_store(&app.state, APP_DRAINING);
    send_chat(fd, 1, false);
    s = receive(fd, "}}");
    ck_assert_msg(strstr(s, " 503 ") && strstr(s, "shutting_down"), "%s", s);
    free(s);
    close(fd);
    double t = clock_seconds();
    stop();                                 /* those that still wait are told so, at once */
    ck_assert_double_lt(clock_seconds() - t, 5);
    close(busy[0]);
    close(busy[1]);
}
END_TEST

/* Streams whose clients do not read keep no place: the engine is done with them long before. */
START_TEST(unread_streams)
{
    enum { PLACES = 8 };
    start("--max-num-seqs", "4", "--max-queue", "4", NULL);
    fake_token_seconds = 0;
    fake_prefill_seconds = 0.3;
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":20000,"
                               "\"logprobs\":true,"
                               "\"top_logprobs\":1,\"stream\":true}";
    int fd[PLACES], small = 32 << 10, other = dial();
    for (int i = 0; i < PLACES; i++) {
        fd[i] = dial();
        setsockopt(fd[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        send_post(fd[i], "/v1/chat/completions", "Connection: close\r\n", body, sizeof body - 1);
    }
    wait_until(&app.inflight, PLACES);
    wait_until(&app.inflight, 0);
    ck_assert_int_eq(atomic_load(&fake_live), PLACES);      /* they are all still there */
    fake_prefill_seconds = 0;
    for (int i = 0; i < PLACES; i++) {
        send_chat(other, 3, i % 2);
        char *s = receive(other, i % 2 ? "[DONE]\n\n\r\n0\r\n\r\n" : "}}}");
        ck_assert_msg(strstr(s, "200 OK") != NULL, "%s", s);
        free(s);
    }
    char *s = receive(fd[0], NULL);                          /* and who reads at last gets all */
    ck_assert(strstr(s, "w19999 ") && strstr(s, "[DONE]"));
    free(s);
    for (int i = 0; i < PLACES; i++)
        close(fd[i]);
    close(other);
    wait_until(&fake_live, 0);
    ck_assert_uint_eq(atomic_load(&app.answers.taken), 0);
    stop();
}
END_TEST

/* What is kept for streams that nobody reads counts with the answers: beyond the limit such a stream ends. */
START_TEST(unread_streams_have_a_limit)
{
    enum { STREAMS = 12 };
    start("--max-body-total", "2000000", NULL);
    fake_token_seconds = 0;
    fake_prefill_seconds = 0.2;
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":40000,"
                               "\"logprobs\":true,"
                               "\"top_logprobs\":1,\"stream\":true}";
    int fd[STREAMS], small = 32 << 10, ended = 0;
    for (int i = 0; i < STREAMS; i++) {
        fd[i] = dial();
        setsockopt(fd[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        send_post(fd[i], "/v1/chat/completions", "Connection: close\r\n", body, sizeof body - 1);
    }
    wait_until(&app.inflight, STREAMS);
    wait_until(&app.inflight, 0);
    ck_assert_uint_lt(atomic_load(&app.answers.taken), 2000000 + STREAMS * TALLY_LITTLE);
    int other = dial();
    send_chat(other, 3, true);
    char *s = receive(other, "[DONE]");
    ck_assert_msg(strstr(s, "w2 ") != NULL, "%s", s);
    free(s);
    close(other);
    for (int i = 0; i < STREAMS; i++) {
        s = receive(fd[i], NULL);
        ended += !strstr(s, "[DONE]") || strstr(s, "\"overloaded\"");
        free(s);
        close(fd[i]);
    }
    ck_assert_int_gt(ended, 0);
    stop();
}
END_TEST

START_TEST(retry_after)
{
    start("--max-num-seqs", "1", "--max-queue", "4", NULL);
    int fd = dial(), busy[5];
    fake_prefill_seconds = 0.6;
    for (int i = 0; i < 3; i++) {          /* each takes so long at least */
        send_chat(fd, 1, false);
        free(receive(fd, "}}}"));
    }
    fake_prefill_seconds = 300;
    for (int i = 0; i < 5; i++) {
        busy[i] = dial();
        send_chat(busy[i], 1, i % 2);
    }
    wait_until(&fake_live, 5);
    send_chat(fd, 1, false);
    char *s = receive(fd, "}}"), *after = strstr(s, "Retry-After: ");
    ck_assert_msg(strstr(s, " 429 ") && after, "%s", s);
    ck_assert_int_ge(atoi(after + 13), 3);  /* four wait, 0.6 s each */
    ck_assert_int_le(atoi(after + 13), 60);
    free(s);
    for (int i = 0; i < 5; i++)
        close(busy[i]);
    close(fd);
    wait_until(&fake_live, 0);
    stop();
}
END_TEST

START_TEST(pipelined)
{
    start(NULL);
    int fd = dial();
    send_chat(fd, 3, false);
    send_chat(fd, 2, true);
    send_text(fd, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    char *s = receive(fd, NULL);
    char *first = strstr(s, "w0 w1 w2 "), *second = strstr(s, "[DONE]"), *third = strstr(s, "\"state\"");
    ck_assert_msg(first && second && third && first < second && second < third, "%s", s);
    free(s);
    close(fd);
    stop();
}
END_TEST

/* A completion's text_offset counts characters, as Python does. */
START_TEST(offsets)
{
    struct token_logprob t[] = { { .id = 201 }, { .id = 7 }, { .id = 201 }, { .id = 201 }, { .id = 8 } };
    struct answer_logprobs l;
    logprobs_init(&l);
    logprobs_add(&l, NULL, t, 5, false);
    ck_assert_str_eq(l.list[3].data, "0,2,5,7,9");
    logprobs_free(&l);
}
END_TEST

START_TEST(logprobs)
{
    start(NULL);
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":2,"
                               "\"logprobs\":true,\"top_logprobs\":1}";
    int fd = dial();
    send_post(fd, "/v1/chat/completions", "", body, strlen(body));
    char *s = receive(fd, "}}}");
    ck_assert_msg(strstr(s, "{\"token\":\"w0 \",\"logprob\":-9999,\"bytes\":[119,48,32]") &&
                  strstr(s, "\"logprob\":0,\"bytes\":[228,189]}"), "%s", s);
    free(s);
    close(fd);
    stop();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http");
    TCase *c = tcase_create("http");
    tcase_set_timeout(c, 240);
    tcase_add_test(c, whole_answer);
    tcase_add_test(c, streamed_answer);
    tcase_add_test(c, statuses);
    tcase_add_test(c, crowd);
    tcase_add_test(c, vanishing_clients);
    tcase_add_test(c, comments_while_waiting);
    tcase_add_test(c, timeouts);
    tcase_add_test(c, write_timeout);
    tcase_add_test(c, steady_reader);
    tcase_add_test(c, body_limits);
    tcase_add_test(c, answer_limits);
    tcase_add_test(c, failures_and_queue);
    tcase_add_test(c, unread_streams);
    tcase_add_test(c, unread_streams_have_a_limit);
    tcase_add_test(c, retry_after);
    tcase_add_test(c, pipelined);
    tcase_add_test(c, logprobs);
    tcase_add_test(c, offsets);
    suite_add_tcase(s, c);
    return suite_run(s);
}

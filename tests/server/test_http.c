/* The HTTP layer on a fake engine: whole and streamed answers, statuses, limits of bodies and of the queue. What
 * clients do that read slowly or go away is in test_clients.c. */
#include "tests/server/http_fixture.inc"

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

START_TEST(whole_answer)
{
    start(NULL);
    int fd = dial();
    for (int i = 0; i < 3; i++) {          /* the connection is kept */
        send_chat(fd, 5, false);
        char *s = receive_answer(fd);
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
    s = receive_answer(fd);
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

START_TEST(failures_and_queue)
{
    start("--max-num-seqs", "1", "--max-queue", "1", NULL);
    static const char fail[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"fail\"}],\"stream\":true}";
    int fd = dial();
    send_post(fd, "/v1/chat/completions", "", fail, strlen(fail));
    char *s = receive_answer(fd);
    ck_assert_msg(strstr(s, " 500 ") && strstr(s, "the device is lost") && strstr(s, "application/json"), "%s", s);
    free(s);
    fake_prefill_seconds = 30;
    int busy[2] = { dial(), dial() };
    for (int i = 0; i < 2; i++)
        send_chat(busy[i], 1, i);
    wait_until(&fake_live, 2);
    send_chat(fd, 1, false);
    s = receive_answer(fd);
    ck_assert_msg(strstr(s, " 429 ") && strstr(s, "Retry-After: "), "%s", s);
    free(s);
    atomic_store(&app.state, APP_DRAINING);
    send_chat(fd, 1, false);
    s = receive_answer(fd);
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

START_TEST(retry_after)
{
    start("--max-num-seqs", "1", "--max-queue", "4", NULL);
    int fd = dial(), busy[5];
    fake_prefill_seconds = 0.6;
    for (int i = 0; i < 3; i++) {          /* each takes so long at least */
        send_chat(fd, 1, false);
        free(receive_answer(fd));
    }
    fake_prefill_seconds = 300;
    for (int i = 0; i < 5; i++) {
        busy[i] = dial();
        send_chat(busy[i], 1, i % 2);
    }
    wait_until(&fake_live, 5);
    send_chat(fd, 1, false);
    char *s = receive_answer(fd), *after = strstr(s, "Retry-After: ");
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
    char *s = receive_answer(fd);
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
    tcase_set_timeout(c, 60);
    tcase_add_test(c, whole_answer);
    tcase_add_test(c, streamed_answer);
    tcase_add_test(c, statuses);
    tcase_add_test(c, comments_while_waiting);
    tcase_add_test(c, body_limits);
    tcase_add_test(c, failures_and_queue);
    tcase_add_test(c, retry_after);
    tcase_add_test(c, pipelined);
    tcase_add_test(c, offsets);
    tcase_add_test(c, logprobs);
    suite_add_tcase(s, c);
    return suite_run(s);
}

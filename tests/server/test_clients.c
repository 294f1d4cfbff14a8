/* The HTTP layer and clients that are many, slow, silent or suddenly gone: nobody waits for them, and what is kept for
 * them has a limit. */
#include "tests/server/http_fixture.inc"

#include <errno.h>
#include <semaphore.h>
#include <sys/resource.h>

#include "server/connections.h"

static double health_seconds(int fd)
{
    static const char get[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    double t = clock_seconds();
    send_all(fd, get, sizeof get - 1);
    char *s = receive_answer(fd);
    ck_assert_msg(strstr(s, "200 OK") != NULL, "%s", s);
    free(s);
    return clock_seconds() - t;
}

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
    char *part = xcalloc(1, 80 << 10), *head = receive(fd, "\r\n\r\n");
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
    char *s = receive_answer(fd);
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
        char *s = i % 2 ? receive(other, "[DONE]\n\n\r\n0\r\n\r\n") : receive_answer(other);
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

struct turn { sem_t go, begun; };

static void begin_handshake_in_turn(void *ctx, struct connection *c)
{
    struct turn *t = ctx;
    char byte;
    sem_wait(&t->go);
    connection_handshake(c);
    sem_post(&t->begun);
    while (read(c->fd, &byte, 1) > 0)
        ;
}

static bool has_ended(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* One handshake too many: the connection that came first goes, and not the one whose thread was first to begin, which
 * on a busy machine may be the youngest. */
START_TEST(oldest_handshake_goes)
{
    enum { MANY = 17 };
    struct connections all;
    struct turn turn[MANY];
    int theirs[MANY];
    ck_assert_int_eq(connections_start(&all, 4 * (MANY - 1), 0, 0, 0), 0);
    for (int i = 0; i < MANY; i++) {
        int pair[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        theirs[i] = pair[0];
        sem_init(&turn[i].go, 0, 0);
        sem_init(&turn[i].begun, 0, 0);
        ck_assert_int_eq(connection_start(&all, pair[1], begin_handshake_in_turn, &turn[i]), 0);
    }
    for (int i = MANY - 1, n = 0; n < MANY; i = n++) {       /* the last one, then the others in order */
        ck_assert(!has_ended(theirs[0]));
        sem_post(&turn[i].go);
        sem_wait(&turn[i].begun);
    }
    for (int i = 0; i < MANY; i++)
        ck_assert_msg(has_ended(theirs[i]) == (i == 0), "%d", i);
    for (int i = 0; i < MANY; i++)
        close(theirs[i]);
    connections_stop(&all);
    for (int i = 0; i < MANY; i++) {
        sem_destroy(&turn[i].go);
        sem_destroy(&turn[i].begun);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("clients");
    TCase *c = tcase_create("clients");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, crowd);
    tcase_add_test(c, vanishing_clients);
    tcase_add_test(c, timeouts);
    tcase_add_test(c, write_timeout);
    tcase_add_test(c, steady_reader);
    tcase_add_test(c, answer_limits);
    tcase_add_test(c, unread_streams);
    tcase_add_test(c, unread_streams_have_a_limit);
    tcase_add_test(c, oldest_handshake_goes);
    suite_add_tcase(s, c);
    return suite_run(s);
}

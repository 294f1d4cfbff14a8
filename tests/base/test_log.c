/* The log with its writer thread: nobody waits for standard error, nothing is lost silently, order is kept. Each test
 * has a process of its own, whose standard error is a pipe or a file of the test's choice. */
#include <check.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "tests/suite.h"

enum { LINES = 20000 };        /* far more than the buffer and a pipe hold */

static int real_stderr;

static void replace_stderr(int fd)
{
    real_stderr = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
}

static void log_many(int from, int to)
{
    for (int i = from; i < to; i++)
        log_info("number %d of those that are many, long enough to fill something", i);
}

/* All that can be read now, or, with `to_end`, until nobody writes any more. */
static char *read_text(int fd, bool to_end)
{
    struct buf b;
    char part[4096];
    buf_init(&b, 64 << 20);
    buf_str(&b, "");
    if (!to_end)
        fcntl(fd, F_SETFL, O_NONBLOCK);
    for (ssize_t n; (n = read(fd, part, sizeof part)) > 0;)
        buf_add(&b, part, (size_t)n);
    return buf_take(&b);
}

/* Lines of log_many() in `text`, which must stand in order, and the sum of those that it says are missing. */
static int count_numbers(char *text, unsigned long long *missing)
{
    int n = 0, last = -1, i;
    *missing = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long long gap;
        char *number = strstr(line, "number "), *warn = strstr(line, " warn ");
        if (number && sscanf(number, "number %d of those that are many, long enough to fill something", &i) == 1) {
            ck_assert_msg(i > last && strlen(number) > 60, "%s after %d", line, last);
            last = i;
            n++;
        } else if (warn && sscanf(warn, " warn %llu lines", &gap) == 1) {
            ck_assert_msg(strstr(line, "missing") != NULL, "%s", line);
            *missing += gap;
        } else {
            ck_abort_msg("'%s' is no line of the log", line);
        }
    }
    return n;
}

static void *read_later(void *arg)
{
    usleep(200 * 1000);
    return read_text(*(int *)arg, true);
}

/* Logs lines 0 to n, and only then reads; returns how many came out, and how many the log says are missing. */
static int log_into_pipe(int n, unsigned long long *missing)
{
    int fd[2];
    pthread_t reader;
    void     *text;
    ck_assert_int_eq(pipe(fd), 0);
    replace_stderr(fd[1]);
    ck_assert_int_eq(log_start(), 0);
    log_many(0, n);                 /* hangs here if anybody waits for the pipe */
    ck_assert_int_eq(pthread_create(&reader, NULL, read_later, &fd[0]), 0);
    log_stop(60);
    close(STDERR_FILENO);
    close(fd[1]);
    pthread_join(reader, &text);
    int came = count_numbers(text, missing);
    free(text);
    dup2(real_stderr, STDERR_FILENO);
    return came;
}

START_TEST(a_reader_gets_all_in_order)
{
    unsigned long long missing;
    ck_assert_int_eq(log_into_pipe(1200, &missing), 1200);    /* less than a half of the buffer */
    ck_assert_uint_eq(missing, 0);
}
END_TEST

/* More than fits is left out and counted; the count stands in the log as soon as somebody reads. */
START_TEST(a_full_pipe_holds_up_nobody)
{
    unsigned long long missing;
    int n = log_into_pipe(LINES, &missing);
    ck_assert_int_gt(n, 1000);
    ck_assert_int_lt(n, LINES);
    ck_assert_uint_eq((unsigned long long)n + missing, LINES);
}
END_TEST

START_TEST(stopping_does_not_wait_for_ever)
{
    int fd[2];
    ck_assert_int_eq(pipe(fd), 0);
    replace_stderr(fd[1]);
    ck_assert_int_eq(log_start(), 0);
    log_many(0, LINES);
    log_stop(0.1);
    log_info("after the end: not written, and not waited for");
    dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
    char *text = read_text(fd[0], false);
    ck_assert_ptr_nonnull(strstr(text, "number 0 of"));
    free(text);
}
END_TEST

/* A file that may not grow is the full disk of this test: what is left out is told once there is room again. */
START_TEST(a_full_disk_is_told_later)
{
    char name[] = "/tmp/openautoglm_log_XXXXXX";
    int  fd = mkstemp(name);
    struct rlimit small = { 5000, RLIM_INFINITY };
    signal(SIGXFSZ, SIG_IGN);
    replace_stderr(fd);
    setrlimit(RLIMIT_FSIZE, &small);
    ck_assert_int_eq(log_start(), 0);
    log_many(0, 1000);
    while (lseek(fd, 0, SEEK_END) < 5000)
        usleep(1000);
    usleep(100 * 1000);             /* whoever were to try again for ever would be busy with it now */
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
    log_many(1000, 1010);
    log_stop(30);
    dup2(real_stderr, STDERR_FILENO);
    lseek(fd, 0, SEEK_SET);
    char *text = read_text(fd, true), *torn = strstr(text, "\n2"), *end;
    ck_assert_ptr_nonnull(torn);
    ck_assert_ptr_nonnull(strstr(text, "number 1009 of"));
    /* The line that was cut stands alone; without it the rest is in order and complete. */
    unsigned long long missing;
    end = text + 5000;
    ck_assert_int_eq(*end, '\n');
    char *begin = end;
    while (begin[-1] != '\n')
        begin--;
    memmove(begin, end + 1, strlen(end + 1) + 1);
    int n = count_numbers(text, &missing);
    ck_assert_uint_eq((unsigned long long)n + missing, 1010);
    free(text);
    close(fd);
    unlink(name);
}
END_TEST

/* Whatever strangers write, a line is one object of JSON, or one line of text; what is too long is cut. */
START_TEST(lines_stay_whole)
{
    static const char *const nasty[] = { "plain", "", "a \"b\" \\ c", "tab\tnew\nline\x1b[2J", "\xff\xc3",
                                         "\xc3\xa4=\xe4\xbd\xa0",
                                         "\xc2\x9b" };
    int fd[2];
    char long_text[5000];
    memset(long_text, '"', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    ck_assert_int_eq(pipe(fd), 0);
    replace_stderr(fd[1]);
    for (int format = LOG_PLAIN; format <= LOG_JSON; format++) {
        struct log_field many[LOG_FIELDS];
        log_set_format((enum log_format)format);
        for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++)
            log_fields(LOG_INFO, nasty[i], (struct log_field[]){ { .name = "x", .text = nasty[i] },
                                                                 { .name = "n", .number = 1.25, .decimals = 1 } }, 2);
        log_info("%s", long_text);
        for (int i = 0; i < LOG_FIELDS; i++)
            many[i] = (struct log_field){ .name = "many", .text = long_text };
        log_fields(LOG_INFO, long_text, many, LOG_FIELDS);
        char *text = read_text(fd[0], false);
        int lines = 0;
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
            json_t *v = json_loads(line, 0, NULL);
            ck_assert_msg(format == LOG_PLAIN ? !v : json_is_object(v), "%s", line);
            ck_assert_int_eq(strcspn(line, "\t\x1b"), strlen(line));
            json_decref(v);
        }
        ck_assert_int_eq(lines, sizeof nasty / sizeof *nasty + 2);
        free(text);
    }
    dup2(real_stderr, STDERR_FILENO);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *c = tcase_create("log");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, a_reader_gets_all_in_order);
    tcase_add_test(c, a_full_pipe_holds_up_nobody);
    tcase_add_test(c, stopping_does_not_wait_for_ever);
    tcase_add_test(c, a_full_disk_is_told_later);
    tcase_add_test(c, lines_stay_whole);
    suite_add_tcase(s, c);
    return suite_run(s);
}

/* The file of API keys line by line, and the buckets and limits of keys on a clock of the test's own. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/keys.h"
#include "tests/suite.h"

static struct key_entry entries[KEYS_MOST];

static int parse(const char *text, struct err *e)
{
    char *copy = strdup(text);
    int   n = key_file_parse(copy, strlen(copy), entries, e);
    free(copy);
    return n;
}

START_TEST(test_lines)
{
    struct err e;
    ck_assert_int_eq(parse("# keys\n\nalice  k1\trpm=60 tpm=1000 concurrent=2\r\n bob k2\nk3\n  # no key\n"
                           "c.d_e-1 k=4=", &e), 4);
    ck_assert_str_eq(entries[0].name, "alice");
    const struct key_limits *a = &entries[0].limits, *b = &entries[1].limits;
    ck_assert(a->requests == 60 && a->tokens == 1000 && a->concurrent == 2);
    ck_assert_str_eq(entries[1].name, "bob");
    ck_assert(b->requests == 0 && b->tokens == 0 && b->concurrent == 0);
    ck_assert_str_eq(entries[2].name, "default");
    ck_assert_str_eq(entries[3].name, "c.d_e-1");
    ck_assert_str_eq(entries[2].digest, "2f5052c9fd15b19a18c584d01363568198613f0c34e84409ef7938709a159ec2");
}
END_TEST

static const struct { const char *text, *says; } wrong[] = {
    { "", "no key" }, { "# only\n\n", "no key" }, { "a k1\n\na k2\n", "line 3: there is a key called a above" },
    { "a k1\nb k1\n", "line 2: a has the same key above" }, { "k1\nk2\n", "line 2: there is a key called default" },
    { "a/b k\n", "line 1: a name has" }, { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa k\n", "line 1: a name has" },
    { "a k rpm=0\n", "line 1: rpm= wants" }, { "a k rpm=\n", "rpm= wants" }, { "a k tpm=1.5\n", "tpm= wants" },
    { "a k rpm=99999999999999999999\n", "rpm= wants" }, { "a k concurrent=-1\n", "concurrent= wants" },
    { "a k rpm=1 rpm=2\n", "twice" }, { "a k rate=1\n", "only rpm=N" }, { "a k 5\n", "only rpm=N" },
    { "a k rpm=1 tpm=1 concurrent=1 x\n", "more words" }, { "secret rpm=60\n", "needs a name" },
    { "a k\xc3\xa9y\n", "line 1: a key has printable" }, { "a k\x01\n", "printable" },
};

START_TEST(test_wrong_lines)
{
    struct err e;
    ck_assert_int_eq(parse(wrong[_i].text, &e), -1);
    ck_assert_msg(strstr(e.text, wrong[_i].says) != NULL, "%s: %s", wrong[_i].text, e.text);
    ck_assert_msg(!strstr(e.text, "secret"), "%s", e.text);
}
END_TEST

START_TEST(test_bounds)
{
    struct err e;
    char       text[64 << 10], *at = text;
    for (int i = 0; i < KEYS_MOST; i++)
        at += sprintf(at, "n%d k%d\n", i, i);
    ck_assert_int_eq(parse(text, &e), KEYS_MOST);
    strcpy(at, "more k\n");
    ck_assert_int_eq(parse(text, &e), -1);
    ck_assert(strstr(e.text, "line 1001: there are more than 1000 keys") != NULL);
    memset(text, 'k', KEY_LENGTH + 1);
    text[KEY_LENGTH + 1] = '\0';
    ck_assert_int_eq(parse(text, &e), -1);
    text[KEY_LENGTH] = '\0';
    ck_assert_int_eq(parse(text, &e), 1);
    ck_assert_int_eq(key_file_parse((char[]){ "a\0b" }, 3, entries, &e), -1);
}
END_TEST

/* ---- keys ---- */

static char file[] = "/tmp/test_keys.XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");
    ck_assert(f && fputs(text, f) >= 0);
    fclose(f);
}

static struct keys *open_file(const char *text)
{
    struct err e;
    write_file(text);
    struct keys *keys = keys_open("", file, &e);
    ck_assert_msg(keys != NULL, "%s", e.text);
    return keys;
}

static struct key_state state;

static int enter(struct keys *keys, struct key *k, double now)
{
    struct err e;
    int rc = keys_enter(keys, k, now, &state, &e);
    ck_assert(rc == 0 || (e.status == 429 && strcmp(e.code, "rate_limit_exceeded") == 0));
    return rc;
}

START_TEST(test_find)
{
    struct err   e;
    struct keys *keys = open_file("a first\nb second\n");
    struct key  *a = keys_find(keys, "first"), *b = keys_find(keys, "second");
    ck_assert_str_eq(key_name(a), "a");
    ck_assert_str_eq(key_name(b), "b");
    ck_assert(!keys_find(keys, "") && !keys_find(keys, "firs") && !keys_find(keys, "first ") && !keys_find(keys, "a"));
    keys_drop(keys, a);
    keys_drop(keys, b);
    keys_close(keys);
    ck_assert(!keys_open("", "", &e) && !*e.text);
    ck_assert(!keys_open("with blank", "", &e) && strstr(e.text, "option api-key"));
    ck_assert(!keys_open("", "/nowhere/keys", &e) && strstr(e.text, "/nowhere/keys"));
    keys = keys_open("alone", "", &e);
    ck_assert_int_eq(keys_count(keys), 1);
    ck_assert_int_eq(keys_reload(keys, &e), 0);
    keys_close(keys);
}
END_TEST

START_TEST(test_requests_per_minute)
{
    struct keys *keys = open_file("a k rpm=3\n");
    struct key  *k = keys_find(keys, "k");
    double       now = clock_seconds() + 1;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(enter(keys, k, now), 0);
        ck_assert_int_eq((int)state.requests, 2 - i);
        keys_leave(keys, k);
    }
    ck_assert_int_eq(enter(keys, k, now), -1);
    ck_assert_double_eq_tol(state.wait, 20, 1e-6);
    ck_assert_double_eq_tol(state.requests_full, 60, 1e-6);
    ck_assert_int_eq(enter(keys, k, now + 19.9), -1);
    ck_assert_int_eq(enter(keys, k, now + 20.1), 0);
    keys_leave(keys, k);
    ck_assert_int_eq(enter(keys, k, now + 1e6), 0);        /* a long pause fills it and no more */
    ck_assert_int_eq((int)state.requests, 2);
    keys_leave(keys, k);
    keys_drop(keys, k);
    keys_close(keys);
}
END_TEST

START_TEST(test_tokens_per_minute)
{
    struct keys *keys = open_file("a k tpm=600\n");
    struct key  *k = keys_find(keys, "k");
    double       now = clock_seconds() + 1;
    ck_assert_int_eq(enter(keys, k, now), 0);
    keys_spend(keys, k, now, 100);
    keys_spend(keys, k, now, 1000);                        /* overdrawn by 500: fifty seconds, and then one token */
    keys_leave(keys, k);
    ck_assert_int_eq(enter(keys, k, now), -1);
    ck_assert_double_eq_tol(state.wait, 50.1, 1e-6);
    ck_assert_int_eq(enter(keys, k, now + 50), -1);
    ck_assert_int_eq(enter(keys, k, now + 50.2), 0);
    keys_leave(keys, k);
    keys_spend(keys, k, now + 1e6, 600);                   /* spent of a full one, not before it fills */
    ck_assert_int_eq(enter(keys, k, now + 1e6), -1);
    keys_drop(keys, k);
    keys_close(keys);
}
END_TEST

START_TEST(test_concurrent)
{
    struct keys *keys = open_file("a k rpm=10 concurrent=2\n");
    struct key  *k = keys_find(keys, "k");
    double       now = clock_seconds();
    ck_assert(enter(keys, k, now) == 0 && enter(keys, k, now) == 0 && enter(keys, k, now) == -1);
    ck_assert_int_eq((int)state.requests, 8);              /* what was refused takes nothing */
    keys_leave(keys, k);
    ck_assert_int_eq(enter(keys, k, now), 0);
    keys_leave(keys, k);
    keys_leave(keys, k);
    keys_drop(keys, k);
    keys_close(keys);
}
END_TEST

/* A reload keeps what a name has used, takes in new keys, and lets go of old ones while somebody still holds them. */
START_TEST(test_reload)
{
    struct err   e;
    struct keys *keys = open_file("a k1 rpm=2 concurrent=1\ngone k2\nfree k4\n");
    struct key  *a = keys_find(keys, "k1"), *gone = keys_find(keys, "k2"), *free_one = keys_find(keys, "k4");
    double       now = clock_seconds();
    ck_assert(enter(keys, a, now) == 0 && enter(keys, gone, now) == 0);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(enter(keys, free_one, now), 0);
        keys_leave(keys, free_one);
    }
    write_file("a k1 rpm=2 concurrent=1\nb k3 rpm=0\n");
    ck_assert_int_eq(keys_reload(keys, &e), -1);
    ck_assert_msg(strstr(e.text, file) && strstr(e.text, "line 2"), "%s", e.text);
    ck_assert_int_eq(keys_count(keys), 3);
    write_file("new k5\nfree k4 rpm=5\na k1-renewed rpm=2 concurrent=2\n");
    ck_assert_int_eq(keys_reload(keys, &e), 0);
    ck_assert(!keys_find(keys, "k1") && !keys_find(keys, "k2"));
    struct key *same = keys_find(keys, "k1-renewed");
    ck_assert_ptr_eq(same, a);
    ck_assert(enter(keys, a, now) == 0 && enter(keys, a, now) == -1);
    ck_assert(enter(keys, free_one, now) == 0 && (int)state.requests == 4);
    struct buf text;
    buf_init(&text, 1 << 20);
    keys_metrics(keys, &text);
    ck_assert(strstr(text.data, "openautoglm_key_running{key=\"a\"} 2\n") && !strstr(text.data, "gone"));
    ck_assert(strstr(text.data, "openautoglm_key_limited_total{key=\"a\",limit=\"concurrent\"} 1\n") != NULL);
    ck_assert(!strstr(text.data, "k1"));
    buf_free(&text);
    keys_leave(keys, gone);
    keys_drop(keys, gone);
    keys_drop(keys, a);
    keys_drop(keys, same);
    keys_drop(keys, free_one);
    keys_close(keys);
}
END_TEST

int main(void)
{
    int fd = mkstemp(file);
    log_set_level(LOG_ERROR);
    Suite *s = suite_create("keys");
    TCase *t = tcase_create("keys");
    tcase_add_test(t, test_lines);
    tcase_add_loop_test(t, test_wrong_lines, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(t, test_bounds);
    tcase_add_test(t, test_find);
    tcase_add_test(t, test_requests_per_minute);
    tcase_add_test(t, test_tokens_per_minute);
    tcase_add_test(t, test_concurrent);
    tcase_add_test(t, test_reload);
    suite_add_tcase(s, t);
    int rc = suite_run(s);
    close(fd);
    unlink(file);
    return rc;
}

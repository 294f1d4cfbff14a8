/* The options table: sources and their order, what is refused and how it is told, config/default.json. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/options.h"
#include "tests/suite.h"

static struct config c;
static struct err    e;

static int parse(unsigned groups, ...)
{
    char   *argv[32] = { "serve" };
    int     argc = 1;
    va_list ap;
    va_start(ap, groups);
    for (char *s = va_arg(ap, char *); s; s = va_arg(ap, char *))
        argv[argc++] = s;
    va_end(ap);
    return options_parse(&c, groups, argc, argv, &e);
}

static void refused(const char *option, const char *word)
{
    ck_assert_msg(strcmp(e.field, option) == 0 && strstr(e.text, option) && strstr(e.text, word), "%s: %s", e.field,
                  e.text);
    options_free(&c);
}

static const char *file_with(const char *text)
{
    static char path[] = "/tmp/openautoglm-options-XXXXXX";
    strcpy(path + sizeof path - 7, "XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
    close(fd);
    return path;
}

START_TEST(defaults)
{
    ck_assert_int_eq(parse(OPT_SERVER, NULL), 0);
    ck_assert_str_eq(c.host, "127.0.0.1");
    ck_assert_int_eq(c.port, 8000);
    ck_assert_int_eq(c.engine.max_num_seqs, 32);
    ck_assert_int_eq(c.engine.max_image_bytes, 72 << 20);
    ck_assert(c.engine.prefix_cache && !options_given(&c, "port"));
    options_free(&c);
}
END_TEST

START_TEST(spellings)
{
    ck_assert_int_eq(parse(OPT_ENGINE | OPT_SERVER, "--port=81", "--max_num_seqs", "3", "--no-prefix-cache",
                           "--kv-bytes", "1.5G",
                           "--idle-timeout", "2.5", "--served-model-name", "a,b", "--served-model-name=c", NULL), 0);
    ck_assert_int_eq(c.port, 81);
    ck_assert_int_eq(c.engine.max_num_seqs, 3);
    ck_assert(!c.engine.prefix_cache);
    ck_assert_int_eq(c.engine.kv_bytes, 3LL << 29);
    ck_assert(c.idle_timeout == 2.5);
    ck_assert_int_eq(c.served_model_name.n, 3);
    ck_assert_str_eq(c.served_model_name.item[2], "c");
    ck_assert(options_given(&c, "kv-bytes"));
    options_free(&c);
    ck_assert_int_eq(parse(OPT_CHAT, "what", "--", "--image", NULL), 0);
    ck_assert_int_eq(c.rest.n, 2);
    ck_assert_str_eq(c.rest.item[1], "--image");
    options_free(&c);
    ck_assert_int_eq(parse(OPT_ENGINE, "--prefix-cache=off", "--image-cache-bytes", "512MiB", NULL), 0);
    ck_assert(!c.engine.prefix_cache && c.engine.image_cache_bytes == 512 << 20);
    options_free(&c);
}
END_TEST

START_TEST(refusals)
{
    static const struct { char *arg, *value; const char *option, *word; } cases[] = {
        { "--port", "65536", "port", "65535" }, { "--port", "-1", "port", "0" }, { "--port", "8x", "port", "number" },
        { "--port", "", "port", "number" }, { "--port", "nan", "port", "must be" },
        { "--port", "80.5", "port", "whole" },
        { "--port", NULL, "port", "value" }, { "--max-num-seqs", "0", "max-num-seqs", "1" },
        { "--weights", "q4", "weights", "auto|f32|bf16" }, { "--weights", "", "weights", "auto" },
        { "--weights", "bf", "weights", "auto" },
        { "--kv-bytes", "12Q", "kv-bytes", "size" }, { "--kv-bytes", "-5", "kv-bytes", "0" },
        { "--kv-bytes", "1e300", "kv-bytes", "must be" }, { "--prefix-cache=maybe", NULL, "prefix-cache", "true" },
        { "--nonsense", "1", "nonsense", "no such" }, { "--no-port", NULL, "no-port", "no such" },
        { "--image", "x", "image", "command" },
        { "--model", "", "model", "empty" }, { "--model=", NULL, "model", "empty" },
        { "--api-key", "", "api-key", "empty" }, { "--trace", "", "trace", "empty" },
         { "--", NULL, "", "" },
    };
    for (size_t i = 0; cases[i].option[0]; i++) {
        ck_assert_msg(parse(OPT_ENGINE | OPT_SERVER, cases[i].arg, cases[i].value, NULL) != 0, "%s %s", cases[i].arg,
                      cases[i].value);
        refused(cases[i].option, cases[i].word);
    }
}
END_TEST

START_TEST(sources)
{
    const char *path = file_with("\xEF\xBB\xBF{\"port\": 5, \"max_num_seqs\": 6, \"kv-bytes\": \"1M\", "
                                 "\"served_model_name\": [\"f\"], \"host\": null}");
    setenv("OPENAUTOGLM_MAX_NUM_SEQS", "7", 1);
    setenv("OPENAUTOGLM_SERVED_MODEL_NAME", "env", 1);
    ck_assert_int_eq(parse(OPT_SERVER | OPT_ENGINE, "--config", path, "--kv-bytes", "2M", NULL), 0);
    ck_assert_int_eq(c.port, 5);
    ck_assert_int_eq(c.engine.max_num_seqs, 7);
    ck_assert_int_eq(c.engine.kv_bytes, 2 << 20);
    ck_assert_int_eq(c.served_model_name.n, 1);
    ck_assert_str_eq(c.served_model_name.item[0], "env");
    ck_assert_str_eq(c.host, "127.0.0.1");
    options_free(&c);
    /* a command's own options may stand in a file that another command shares */
    ck_assert_int_eq(parse(OPT_CHAT, "--config", path, NULL), 0);
    options_free(&c);
    unlink(path);
    setenv("OPENAUTOGLM_MAX_NUM_SEQS", "many", 1);
    ck_assert_int_ne(parse(OPT_SERVER | OPT_ENGINE, NULL), 0);
    refused("max-num-seqs", "OPENAUTOGLM_MAX_NUM_SEQS");
    unsetenv("OPENAUTOGLM_MAX_NUM_SEQS");
    static const struct { const char *text, *option; } bad[] = {
        { "{\"port\": \"5\"}", "port" }, { "{\"port\": true}", "port" }, { "{\"prefix_cache\": 1}", "prefix-cache" },
        { "{\"nonsense\": 1}", "nonsense" }, { "{\"config\": \"x\"}", "config" }, { "[]", "config" }, { "{", "config" },
        { "{\"served_model_name\": [1]}", "served-model-name" }, { "{\"port\": 1, \"port\": 2}", "config" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        path = file_with(bad[i].text);
        ck_assert_msg(parse(OPT_SERVER, "--config", path, NULL) != 0, "%s", bad[i].text);
        refused(bad[i].option, path);
        unlink(path);
    }
}
END_TEST

/* The file shows every default; loading it changes nothing. */
START_TEST(default_json)
{
    struct buf want;
    buf_init(&want, 1 << 20);
    options_json(&want, OPT_ENGINE | OPT_SERVER);
    FILE *f = fopen("config/default.json", "r");
    ck_assert_msg(f != NULL, "run from the repository's root");
    char have[16384];
    have[fread(have, 1, sizeof have - 1, f)] = '\0';
    fclose(f);
    ck_assert_msg(strcmp(have, want.data) == 0, "config/default.json is old: `make` writes\n%s", want.data);
    buf_free(&want);
    ck_assert_msg(parse(OPT_ENGINE | OPT_SERVER, "--config", "config/default.json", NULL) == 0, "%s", e.text);
    ck_assert_int_eq(c.port, 8000);
    ck_assert_int_eq(c.served_model_name.n, 0);
    options_free(&c);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("options");
    tcase_add_test(t, defaults);
    tcase_add_test(t, spellings);
    tcase_add_test(t, refusals);
    tcase_add_test(t, sources);
    tcase_add_test(t, default_json);
    Suite *s = suite_create("options");
    suite_add_tcase(s, t);
    return suite_run(s);
}

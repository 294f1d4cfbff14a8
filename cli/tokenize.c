/* cli/tokenize.c - tokens of strings and strings of tokens, one JSON value a line. See tokenize.h. */
#include "cli/tokenize.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tokenizer/tokenizer.h"

/* Answers one line. NULL and a message: it cannot be answered. */
typedef json_t *answer(const struct tokenizer *t, const json_t *line, bool flag, struct err *e);

enum { LINE_MAX_BYTES = 256 << 20 };

/* A string becomes an array of ids. `special`: with the tokens that the tokenizer adds by itself. */
static json_t *ids_of(const struct tokenizer *t, const json_t *line, bool special, struct err *e)
{
    struct ids ids = { 0 };
    json_t *out = NULL;
    if (!json_is_string(line)) {
        err_set(e, "expected a string");
        return NULL;
    }
    if (tokenizer_encode(t, json_string_value(line), json_string_length(line), special, &ids, e) == 0 &&
        (out = json_array()))
        for (size_t i = 0; i < ids.n; i++)
            json_array_append_new(out, json_integer(ids.id[i]));
    ids_free(&ids);
    return out;
}

/* Ids that no vocabulary has are kept as -1 and stand for nothing, as the reference takes them. */
static int read_ids(const json_t *line, struct ids *ids, struct err *e)
{
    if (!json_is_array(line))
        return err_set(e, "expected an array of ids");
    for (size_t i = 0; i < json_array_size(line); i++) {
        const json_t *v = json_array_get(line, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
            return err_set(e, "[%zu] is not an id", i);
        /* No vocabulary has ids that large: they stand for nothing. */
        int64_t id = json_integer_value(v);
        if (ids_add(ids, id > INT32_MAX ? -1 : (int32_t)id) < 0)
            return err_memory(e);
    }
    return 0;
}

/* An array of ids becomes a string. Text that is no UTF-8 cannot be written as JSON, which is an error of that line. */
static json_t *text_of(const struct tokenizer *t, const json_t *line, bool skip_special, struct err *e)
{
    struct ids ids = { 0 };
    struct buf text;
    json_t *out = NULL;
    buf_init(&text, LINE_MAX_BYTES);
    if (read_ids(line, &ids, e) == 0 && tokenizer_decode(t, ids.id, ids.n, skip_special, &text, e) == 0)
        out = json_stringn(text.data ? text.data : "", text.len);
    if (!out && !*e->text)
        err_set(e, "the text cannot be written as JSON");
    ids_free(&ids);
    buf_free(&text);
    return out;
}

/* One line of JSON: the value, which is freed, or the error if there is none. */
static void write_line(json_t *value, const struct err *e)
{
    if (!value)
        value = json_pack("{s:s}", "error", *e->text ? e->text : "out of memory");
    if (!value)
        value = json_pack("{s:s}", "error", "the message cannot be written as JSON");
    json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(value);
}

/* Every line is answered, and the answer flushed, before the next one is read, so that a program can talk to this one
 * through pipes. */
static int answer_lines(const struct tokenizer *t, answer *one, bool flag)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) >= 0) {
        struct err e = { 0 };
        json_error_t je;
        if (n && line[n - 1] == '\n')
            n--;
        json_t *value = n > LINE_MAX_BYTES ? NULL : json_loadb(line, (size_t)n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
        json_t *out = NULL;
        if (value)
            out = one(t, value, flag, &e);
        else if (n > LINE_MAX_BYTES)
            err_set(&e, "the line is too long");
        else
            err_set(&e, "not JSON: %s", je.text);
        write_line(out, &e);
        json_decref(value);
    }
    free(line);
    return 0;
}

/* Both commands differ in one flag and in what they make of a line. */
static int run(int argc, char **argv, const char *flag_name, answer *one)
{
    const char *dir = NULL;
    bool flag = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--model") && i + 1 < argc) {
            dir = argv[++i];
        } else if (!strncmp(argv[i], "--model=", 8)) {
            dir = argv[i] + 8;
        } else if (!strcmp(argv[i], flag_name)) {
            flag = true;
        } else {
            dir = NULL;
            break;
        }
    }
    if (!dir) {
        fprintf(stderr, "usage: openautoglm %s --model DIR [%s]\n", argv[0], flag_name);
        return 2;
    }
    struct err e = { 0 };
    struct tokenizer *t = tokenizer_open(dir, &e);
    if (!t) {
        fprintf(stderr, "openautoglm: %s\n", e.text);
        return 2;
    }
    int rc = answer_lines(t, one, flag);
    tokenizer_close(t);
    return rc;
}

int command_tokenize(int argc, char **argv) { return run(argc, argv, "--special", ids_of); }
int command_detokenize(int argc, char **argv) { return run(argc, argv, "--skip-special", text_of); }

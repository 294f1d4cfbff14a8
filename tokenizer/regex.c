/* tokenizer/regex.c - see regex.h.
 *
 * PCRE2 searches by trying: a pattern of a checkpoint may take forever on some text. Steps, memory and time are
 * bounded, and the bounds are wide enough for any pattern that is linear in the text. */
#include "tokenizer/regex.h"

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/mem.h"

struct regex {
    pcre2_code *code; /* owned */
    bool        jit;
};

struct regex_match {
    pcre2_match_data    *data;     /* owned */
    pcre2_match_context *limits;   /* owned */
    unsigned             calls;
    double               deadline; /* on the clock of the thread's processor time */
};

enum {
    MAX_PATTERN = 64 * 1024,
    STEPS          = 1000 * 1000, /* of one match */
    STEPS_PER_BYTE = 16,          /* and more for long texts: linear patterns need a few */
    HEAP_LIMIT     = 256 * 1024,  /* KiB */
    CLOCK_EVERY    = 512,         /* matches between two looks at the clock */
};
/* Processor time of all searches with one struct regex_match. */
static const double SECONDS = 5, SECONDS_PER_BYTE = 4e-6;

/* Puts PCRE2's message for an error of compiling into e. */
static void compile_error(int code, struct err *e, size_t at)
{
    char text[120];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    err_set(e, "the pattern cannot be compiled: %s (at %zu after translation)", text, at);
}

/* Translates the pattern and compiles it as UTF-8 with Unicode's properties; lines end in a line feed, as for the
 * reference. Where the system allows no JIT the interpreter runs the pattern. */
struct regex *regex_compile(const char *pattern, size_t n, struct err *e)
{
    struct regex *r = NULL;
    struct buf b;
    buf_init(&b, 8 * MAX_PATTERN);
    pcre2_compile_context *cc = pcre2_compile_context_create(NULL);
    if (!cc || n > MAX_PATTERN) {
        err_set(e, "the pattern is too long");
        goto out;
    }
    if (regex_translate(pattern, n, &b, e) < 0)
        goto out;
    pcre2_set_newline(cc, PCRE2_NEWLINE_LF);
    pcre2_set_bsr(cc, PCRE2_BSR_UNICODE);
    int code;
    PCRE2_SIZE at;
    r = xcalloc(1, sizeof *r);
    r->code = pcre2_compile((PCRE2_SPTR)(b.data ? b.data : ""), b.len,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_UTF_CHECK,
                            &code, &at, cc);
    if (!r->code) {
        compile_error(code, e, at);
        regex_free(r);
        r = NULL;
        goto out;
    }
    r->jit = pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0;
out:
    pcre2_compile_context_free(cc);
    buf_free(&b);
    return r;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r);
}

/* The processor time of this thread: a machine that is busy with other things does not use up the time of a search. */
static double thread_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* PCRE2 bounds the steps and the memory of one match, and the deadline bounds all matches together. Both grow with
 * the text, as linear patterns need some steps for every byte. */
struct regex_match *regex_match_new(size_t bytes)
{
    struct regex_match *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->data = pcre2_match_data_create(1, NULL);
    m->limits = pcre2_match_context_create(NULL);
    if (!m->data || !m->limits) {
        regex_match_free(m);
        return NULL;
    }
    uint64_t steps = STEPS + STEPS_PER_BYTE * (uint64_t)bytes;
    steps = steps > UINT32_MAX ? UINT32_MAX : steps;
    pcre2_set_match_limit(m->limits, (uint32_t)steps);
    pcre2_set_depth_limit(m->limits, (uint32_t)steps);
    pcre2_set_heap_limit(m->limits, HEAP_LIMIT);
    m->deadline = thread_seconds() + SECONDS + (double)bytes * SECONDS_PER_BYTE;
    return m;
}

void regex_match_free(struct regex_match *m)
{
    if (!m)
        return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->limits);
    free(m);
}

/* The limits of PCRE2 bound one match. A bad pattern with a bad text may come
 * close to them at every byte: the clock bounds the sum. */
static bool out_of_time(struct regex_match *m)
{
    return ++m->calls % CLOCK_EVERY == 0 && thread_seconds() > m->deadline;
}

/* JIT code has 32 KiB of stack; a match that needs more is done again by the interpreter, which has the heap. What
 * the limits end becomes an error with PCRE2's reason. */
int regex_find(const struct regex *r, struct regex_match *m, const char *s, size_t n, size_t from, size_t *start,
               size_t *end, struct err *e)
{
    if (out_of_time(m))
        return err_set(e, "the tokenizer's pattern takes too long on this text");
    PCRE2_SPTR text = (PCRE2_SPTR)s;
    int rc;
    if (r->jit) {
        rc = pcre2_jit_match(r->code, text, n, from, 0, m->data, m->limits);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
            rc = pcre2_match(r->code, text, n, from, PCRE2_NO_JIT | PCRE2_NO_UTF_CHECK, m->data, m->limits);
    } else {
        rc = pcre2_match(r->code, text, n, from, PCRE2_NO_UTF_CHECK, m->data, m->limits);
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return err_memory(e);
    if (rc < 0) {
        char why[120];
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        return err_set(e, "the tokenizer's pattern fails on this text: %s", why);
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->data);
    *start = at[0];
    *end = at[1] < at[0] ? at[0] : at[1]; /* with \K in a look-ahead a match may end before it starts */
    return 1;
}

/* server/keys.c - keys and their buckets under one lock. What the functions promise stands in keys.h. */
#include "server/keys.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sha256.h"

enum limit_kind { LIMIT_REQUESTS, LIMIT_TOKENS, LIMIT_CONCURRENT, N_LIMIT_KINDS };

struct key {                   /* everything but the name is under the lock of its keys */
    struct key_entry entry;
    int      holders;          /* the list of keys, and exchanges; the last one frees it          */
    int      running;          /* requests that have begun and not ended                          */
    double   requests, tokens; /* left in the buckets at the time `since`; tokens may be below 0  */
    double   since;            /* clock_seconds()                                                 */
    uint64_t n_requests, n_tokens, n_refused[N_LIMIT_KINDS];
};

struct keys {
    pthread_mutex_t lock;
    char        *file;         /* owned; "": there is none */
    struct key **key;          /* owned (n), each held     */
    int          n;
};

/* ---- reading ---- */

/* A file that others may read gives the keys away. It is used all the same: secrets are mounted that way in containers,
 * where nobody else is. */
static void warn_of_mode(const char *file)
{
    struct stat st;
    if (stat(file, &st) == 0 && (st.st_mode & (S_IRWXO | S_IWGRP)))
        log_warn("api-key-file: %s can be read or written by others (mode %04o): chmod 600 keeps the keys secret", file,
                 (unsigned)st.st_mode & 07777);
}

/* The entries of the file, which become the caller's; *n of them. NULL: e->text names file and line. */
static struct key_entry *read_file(const char *file, int *n, struct err *e)
{
    struct buf text;
    struct key_entry *all = malloc(KEYS_MOST * sizeof *all);
    buf_init(&text, KEY_FILE_BYTES);
    if (!all)
        err_memory(e);
    else if (file_must_read(file, &text, e) != 0)
        *n = -1;
    else if ((*n = key_file_parse(text.len ? text.data : (char[]){ "" }, text.len, all, e)) < 0)
        err_prefix(e, "%s", file);
    if (text.data)
        explicit_bzero(text.data, text.len);
    buf_free(&text);
    if (all && *n > 0) {
        warn_of_mode(file);
        return all;
    }
    free(all);
    err_prefix(e, "option api-key-file");
    snprintf(e->field, sizeof e->field, "api-key-file");
    return NULL;
}

/* A key that nobody has used yet: its buckets are full. The list holds it. */
static struct key *key_new(const struct key_entry *entry)
{
    struct key *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->entry = *entry;
    k->holders = 1;
    k->requests = entry->limits.requests;
    k->tokens = entry->limits.tokens;
    k->since = clock_seconds();
    return k;
}

static void let_go(struct key *k)
{
    if (--k->holders == 0)
        free(k);
}

static struct key *by_name(const struct keys *keys, const char *name)
{
    for (int i = 0; i < keys->n; i++)
        if (strcmp(keys->key[i]->entry.name, name) == 0)
            return keys->key[i];
    return NULL;
}

/* A bucket that there was no limit for begins full. The name stays as it is: exchanges read it without the lock. */
static void renew(struct key *k, const struct key_entry *entry)
{
    const struct key_limits *old = &k->entry.limits, *new = &entry->limits;
    if (!old->requests)
        k->requests = new->requests;
    if (!old->tokens)
        k->tokens = new->tokens;
    memcpy(k->entry.digest, entry->digest, sizeof entry->digest);
    k->entry.limits = *new;
}

/* Puts the entries in the place of the keys that there are. Whatever needs memory is made first, so that a failure
 * changes nothing. The caller holds the lock. */
static int replace(struct keys *keys, const struct key_entry *entries, int n, struct err *e)
{
    struct key **list = calloc((size_t)n, sizeof *list);
    bool there = list != NULL;
    for (int i = 0; i < n && there; i++) {
        list[i] = by_name(keys, entries[i].name);
        if (list[i])
            list[i]->holders++;
        else
            there = (list[i] = key_new(&entries[i])) != NULL;
    }
    for (int i = 0; i < n && !there && list; i++)
        if (list[i])
            let_go(list[i]);
    if (!there) {
        free(list);
        return err_memory(e);
    }
    for (int i = 0; i < n; i++)
        renew(list[i], &entries[i]);
    for (int i = 0; i < keys->n; i++)
        let_go(keys->key[i]);
    free(keys->key);
    keys->key = list;
    keys->n = n;
    return 0;
}

/* The keys of the options, one or a file of them. NULL with e->text empty: none is set, and everybody may ask. The copy
 * in memory is replaced as a whole when the file is read again. */
struct keys *keys_open(const char *key, const char *file, struct err *e)
{
    struct key_entry one, *entries = &one;
    int n = 1;
    *e = (struct err){ 0 };
    if (*file && !(entries = read_file(file, &n, e)))
        return NULL;
    if (!*file && !*key)
        return NULL;
    if (!*file && key_entry_default(&one, key, e) != 0) {
        err_prefix(e, "option api-key");
        return NULL;
    }
    struct keys *keys = xcalloc(1, sizeof *keys);
    keys->file = xstrdup(file);
    pthread_mutex_init(&keys->lock, NULL);
    if (replace(keys, entries, n, e) != 0) {
        keys_close(keys);
        keys = NULL;
    }
    if (entries != &one)
        free(entries);
    return keys;
}

void keys_close(struct keys *keys)
{
    if (!keys)
        return;
    for (int i = 0; i < keys->n; i++)
        let_go(keys->key[i]);
    free(keys->key);
    free(keys->file);
    pthread_mutex_destroy(&keys->lock);
    free(keys);
}

int keys_reload(struct keys *keys, struct err *e)
{
    int n;
    if (!*keys->file)
        return 0;
    struct key_entry *entries = read_file(keys->file, &n, e);
    if (!entries)
        return -1;
    pthread_mutex_lock(&keys->lock);
    int rc = replace(keys, entries, n, e);
    pthread_mutex_unlock(&keys->lock);
    free(entries);
    return rc;
}

int keys_count(struct keys *keys)
{
    pthread_mutex_lock(&keys->lock);
    int n = keys->n;
    pthread_mutex_unlock(&keys->lock);
    return n;
}

/* ---- asking ---- */

static bool digests_equal(const char *a, const char *b)
{
    unsigned char differ = 0;
    for (int i = 0; i < KEY_DIGEST_SIZE; i++)
        differ |= (unsigned char)(a[i] ^ b[i]);
    return differ == 0;
}

/* What is compared are digests, whose bytes nobody can aim at, and all of them: the time tells nothing of a key. */
struct key *keys_find(struct keys *keys, const char *given)
{
    char digest[KEY_DIGEST_SIZE];
    struct key *found = NULL;
    sha256_hex(digest, given, strlen(given));
    pthread_mutex_lock(&keys->lock);
    for (int i = 0; i < keys->n; i++)
        if (digests_equal(keys->key[i]->entry.digest, digest))
            found = keys->key[i];
    if (found)
        found->holders++;
    pthread_mutex_unlock(&keys->lock);
    return found;
}

void keys_drop(struct keys *keys, struct key *key)
{
    pthread_mutex_lock(&keys->lock);
    let_go(key);
    pthread_mutex_unlock(&keys->lock);
}

const char *key_name(const struct key *key) { return key->entry.name; }

/* ---- limits ---- */

/* What a bucket for `each` a minute holds after so many seconds; without a limit it is not looked at. */
static double filled(double left, int each, double seconds)
{
    return fmin(left + seconds * each / 60, each);
}

static void fill_buckets(struct key *k, double now)
{
    double seconds = fmax(now - k->since, 0);
    k->requests = filled(k->requests, k->entry.limits.requests, seconds);
    k->tokens = filled(k->tokens, k->entry.limits.tokens, seconds);
    k->since = now;
}

/* Seconds until a bucket for `each` a minute, which has `left`, has `want`. */
static double seconds_until(double want, double left, int each)
{
    return each > 0 && left < want ? (want - left) * 60 / each : 0;
}

/* What a key has left of its limits now, and when it will have all of them again; `wait` is until a request may begin.
 * */
static void describe(const struct key *k, struct key_state *s)
{
    const struct key_limits *most = &k->entry.limits;
    double wait = seconds_until(1, k->requests, most->requests), tokens = seconds_until(1, k->tokens, most->tokens);
    *s = (struct key_state){
        .limits = *most,
        .requests = k->requests,
        .tokens = k->tokens,
        .requests_full = seconds_until(most->requests, k->requests, most->requests),
        .tokens_full = seconds_until(most->tokens, k->tokens, most->tokens),
        .wait = fmax(wait, tokens),
    };
}

/* The message says which limit it was, and what it is. */
static int refuse(struct key *k, enum limit_kind kind, struct err *e)
{
    const struct { const char *what; int most; } limit[] = {
        [LIMIT_REQUESTS] = { "requests per minute", k->entry.limits.requests },
        [LIMIT_TOKENS] = { "tokens per minute", k->entry.limits.tokens },
        [LIMIT_CONCURRENT] = { "requests at one time", k->entry.limits.concurrent },
    };
    k->n_refused[kind]++;
    err_set(e, "the limit of this API key is reached: %d %s", limit[kind].most, limit[kind].what);
    e->status = 429;
    snprintf(e->code, sizeof e->code, "rate_limit_exceeded");
    return -1;
}

/* Asks whether a request with this key may be computed now, and counts it if so; keys_leave() is due then. -1 with a
 * 429 that says which limit it was. *state is filled in both cases, for the headers of the answer. */
int keys_enter(struct keys *keys, struct key *key, double now, struct key_state *state, struct err *e)
{
    const struct key_limits *most = &key->entry.limits;
    int rc = 0;
    pthread_mutex_lock(&keys->lock);
    fill_buckets(key, now);
    if (most->concurrent && key->running >= most->concurrent) {
        rc = refuse(key, LIMIT_CONCURRENT, e);
    } else if (most->requests && key->requests < 1) {
        rc = refuse(key, LIMIT_REQUESTS, e);
    } else if (most->tokens && key->tokens < 1) {
        rc = refuse(key, LIMIT_TOKENS, e);
    } else {
        key->requests -= 1;
        key->running++;
        key->n_requests++;
    }
    describe(key, state);
    pthread_mutex_unlock(&keys->lock);
    return rc;
}

void keys_leave(struct keys *keys, struct key *key)
{
    pthread_mutex_lock(&keys->lock);
    key->running--;
    pthread_mutex_unlock(&keys->lock);
}

void keys_spend(struct keys *keys, struct key *key, double now, int tokens)
{
    pthread_mutex_lock(&keys->lock);
    fill_buckets(key, now);
    key->tokens -= tokens;
    key->n_tokens += (uint64_t)tokens;
    pthread_mutex_unlock(&keys->lock);
}

/* ---- metrics ---- */

static void write_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP openautoglm_key_%s %s\n# TYPE openautoglm_key_%s %s\n", name, help, name, type);
}

/* Names are made of characters that need no escape (key_file.h). */
static void write_row(struct buf *out, const char *name, const struct key *k, uint64_t value)
{
    buf_printf(out, "openautoglm_key_%s{key=\"%s\"} %llu\n", name, k->entry.name, (unsigned long long)value);
}

/* The figures of all keys by their names, never by the keys themselves. */
void keys_metrics(struct keys *keys, struct buf *out)
{
    static const char *const kinds[] = { "requests", "tokens", "concurrent" };
    pthread_mutex_lock(&keys->lock);
    write_head(out, "requests_total", "counter", "Requests that an API key was allowed.");
    for (int i = 0; i < keys->n; i++)
        write_row(out, "requests_total", keys->key[i], keys->key[i]->n_requests);
    write_head(out, "tokens_total", "counter", "Tokens of the prompts and answers of an API key.");
    for (int i = 0; i < keys->n; i++)
        write_row(out, "tokens_total", keys->key[i], keys->key[i]->n_tokens);
    write_head(out, "running", "gauge", "Requests of an API key that are being answered.");
    for (int i = 0; i < keys->n; i++)
        write_row(out, "running", keys->key[i], (uint64_t)keys->key[i]->running);
    write_head(out, "limited_total", "counter", "Requests of an API key that a limit refused.");
    for (int i = 0; i < keys->n; i++)
        for (int kind = 0; kind < N_LIMIT_KINDS; kind++)
            buf_printf(out, "openautoglm_key_limited_total{key=\"%s\",limit=\"%s\"} %llu\n", keys->key[i]->entry.name,
                       kinds[kind], (unsigned long long)keys->key[i]->n_refused[kind]);
    pthread_mutex_unlock(&keys->lock);
}

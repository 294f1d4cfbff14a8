/* server/key_file.c - reads the lines of --api-key-file. What they look like stands in key_file.h. No message shows a
 * word of the file but names and limits: a word in the wrong place may be a key. */
#include "server/key_file.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"

enum { WORDS_MOST = 5, LIMIT_MOST = 1000000000 };

static const struct { const char *name; size_t offset; } limit_names[] = {
    { "rpm=", offsetof(struct key_limits, requests) },
    { "tpm=", offsetof(struct key_limits, tokens) },
    { "concurrent=", offsetof(struct key_limits, concurrent) },
};
enum { N_LIMITS = sizeof limit_names / sizeof *limit_names };

/* Which limit a word names; -1: it names none, and may be a key. */
static int limit_of(const char *word)
{
    for (int i = 0; i < N_LIMITS; i++)
        if (strncmp(word, limit_names[i].name, strlen(limit_names[i].name)) == 0)
            return i;
    return -1;
}

/* One limit of a key, as "rpm=60", each at most once in a line. -1: an unknown one, or no whole number. */
static int read_limit(struct key_limits *limits, const char *word, struct err *e)
{
    int which = limit_of(word);
    if (which < 0)
        return err_set(e, "behind the key there are only rpm=N, tpm=N and concurrent=N");
    int *value = (int *)((char *)limits + limit_names[which].offset);
    const char *number = word + strlen(limit_names[which].name);
    size_t digits = strspn(number, "0123456789");
    long   n = digits > 0 && digits < 11 && !number[digits] ? strtol(number, NULL, 10) : 0;
    if (n < 1 || n > LIMIT_MOST)
        return err_set(e, "%s wants a whole number from 1 to %d", limit_names[which].name, LIMIT_MOST);
    if (*value)
        return err_set(e, "%s is there twice", limit_names[which].name);
    *value = (int)n;
    return 0;
}

/* Names come up in the log and in metrics, so they may hold nothing that would need escaping there. */
static int read_name(struct key_entry *out, const char *name, struct err *e)
{
    size_t n = strlen(name);
    if (n >= KEY_NAME_SIZE ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != n)
        return err_set(e, "a name has at most %d letters, digits, '.', '_' and '-'", KEY_NAME_SIZE - 1);
    memcpy(out->name, name, n + 1);
    return 0;
}

/* Only the digest of a key is kept. */
static int read_key(struct key_entry *out, const char *key, struct err *e)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < n; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return err_set(e, "a key has printable characters of ASCII alone");
    if (n == 0 || n > KEY_LENGTH)
        return err_set(e, "a key has 1 to %d characters", KEY_LENGTH);
    sha256_hex(out->digest, key, n);
    return 0;
}

int key_entry_default(struct key_entry *out, const char *key, struct err *e)
{
    *out = (struct key_entry){ 0 };
    return read_name(out, "default", e) != 0 ? -1 : read_key(out, key, e);
}

/* Cuts a line into words at blanks and tabs. Returns how many there are, at most WORDS_MOST + 1. */
static int split(char *line, char *words[WORDS_MOST + 1])
{
    int n = 0;
    for (char *rest = line, *word; n <= WORDS_MOST && (word = strtok_r(rest, " \t\r", &rest)) != NULL;)
        words[n++] = word;
    return n;
}

/* One line that is not empty. A limit in the place of the key is refused by name: read as a key, "rpm=60" would open
 * the server, and the real key would be shown as a name. */
static int read_line(struct key_entry *out, char *words[], int n, struct err *e)
{
    if (n == 1)
        return key_entry_default(out, words[0], e);
    *out = (struct key_entry){ 0 };
    if (limit_of(words[1]) >= 0)
        return err_set(e, "a key with limits needs a name before it");
    if (n > WORDS_MOST)
        return err_set(e, "there are more words than NAME KEY rpm=N tpm=N concurrent=N");
    if (read_name(out, words[0], e) != 0 || read_key(out, words[1], e) != 0)
        return -1;
    for (int i = 2; i < n; i++)
        if (read_limit(&out->limits, words[i], e) != 0)
            return -1;
    return 0;
}

/* The n-th entry must differ from those above it, in its name and in its key. */
static int check_unique(const struct key_entry *all, int n, struct err *e)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(all[i].name, all[n].name) == 0)
            return err_set(e, "there is a key called %s above", all[n].name);
        if (strcmp(all[i].digest, all[n].digest) == 0)
            return err_set(e, "%s has the same key above", all[i].name);
    }
    return 0;
}

/* Reads all lines of the file into `out`, which has room for KEYS_MOST. The words stay in `text`, which is cut up.
 * Returns how many keys there are; -1: the error names the line. */
int key_file_parse(char *text, size_t n, struct key_entry *out, struct err *e)
{
    int n_keys = 0, number = 0;
    if (memchr(text, '\0', n))
        return err_set(e, "there is a NUL in it");
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        char *words[WORDS_MOST + 1];
        int   n_words = split(line, words);
        number++;
        if (n_words == 0 || *words[0] == '#')
            continue;
        if (n_keys == KEYS_MOST)
            return err_set(e, "line %d: there are more than %d keys", number, KEYS_MOST);
        if (read_line(&out[n_keys], words, n_words, e) != 0 || check_unique(out, n_keys, e) != 0)
            return err_prefix(e, "line %d", number);
        n_keys++;
    }
    return n_keys > 0 ? n_keys : err_set(e, "there is no key in it");
}

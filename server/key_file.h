/* server/key_file.h - the text form of --api-key-file: who may ask, and how much.
 *
 *     # a comment; empty lines count for nothing
 *     NAME KEY [rpm=N] [tpm=N] [concurrent=N]
 *     KEY
 *
 * One key a line, in words with blanks between them. A name has up to 40 letters, digits, '.', '_' and '-', and appears
 * in the metrics and the log; a key has up to 512 printable characters of ASCII and appears nowhere. A line of one word
 * is a key without limits, which is called "default". No two lines may have the same name, or the same key.
 *
 * rpm         requests that may begin in a minute
 * tpm         tokens of prompts and answers in a minute
 * concurrent  requests that may be answered at one time */
#ifndef SERVER_KEY_FILE_H
#define SERVER_KEY_FILE_H
#include <stddef.h>

#include "base/err.h"

enum {
    KEYS_MOST = 1000,          /* in one file; each has rows of its own in the metrics */
    KEY_NAME_SIZE = 41,
    KEY_LENGTH = 512,          /* characters of the longest key                        */
    KEY_DIGEST_SIZE = 65,
    KEY_FILE_BYTES = 1 << 20,
};

struct key_limits { int requests, tokens, concurrent; };       /* the first two in a minute; 0: none */

struct key_entry {
    char name[KEY_NAME_SIZE];
    char digest[KEY_DIGEST_SIZE];      /* SHA-256 of the key in hexadecimal digits: the key itself is not kept */
    struct key_limits limits;
};

/* Reads the n bytes of a file's text, which it cuts into words; text[n] must be a NUL. Fills `out`, which has room for
 * KEYS_MOST, and returns how many there are. -1: e->text has the number of the line at fault. */
int key_file_parse(char *text, size_t n, struct key_entry *out, struct err *e);

/* The entry of a key that has neither name nor limits of its own. -1: it is no key. */
int key_entry_default(struct key_entry *out, const char *key, struct err *e);

#endif

/* tokenizer/json_file.h - reads a file that holds one JSON object. */
#ifndef TOKENIZER_JSON_FILE_H
#define TOKENIZER_JSON_FILE_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "tokenizer/cursor.h"

/* The large parts of a tokenizer.json stay text: in `root` their places hold an
 * empty object or array. */
struct json_file {
    json_t *root;           /* owned */
    char   *text;           /* owned */
    struct cursor vocab;    /* model.vocab, n = 0: there is none */
    struct cursor merges;   /* model.merges                      */
};

/* 0; -1 and a message that names the file. An optional file that is not there
 * gives 0 and root NULL. `cut`: keep the large parts out of the tree. */
int  json_file_read(struct json_file *f, const char *path, bool optional, bool cut, struct err *e);
void json_file_free(struct json_file *f);

#endif

/* checkpoint/hparams.h - typed reads of a configuration file, with errors that name
 * file and field.
 *
 *     struct hparams h;
 *     hparams_open(&h, dir, "config.json", true, &e);
 *     struct hparams t = hparams_section(&h, "text_config");      // the same object where the file is flat
 *     int n = hparams_int(&t, "num_hidden_layers|n_layer", HP_REQUIRED, 1, 1024);
 *     if (hparams_end(&h) != 0) ...                               // the first error is in e
 *     hparams_close(&h);
 *
 * Field names may be alternatives, "new|old", tried in order; null counts as
 * absent. The first error sticks (in the root, shared by its sections) and
 * later reads return their smallest legal value, so that a caller reads all
 * its fields and asks once. */
#ifndef CHECKPOINT_HPARAMS_H
#define CHECKPOINT_HPARAMS_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define HP_REQUIRED INT64_MIN        /* as a default: the field must be there */
#define HP_REQUIRED_NUMBER (-1e300)

struct hparams {
    json_t     *object;              /* root: owned; section: borrowed; NULL: everything takes its default */
    const char *file;                /* borrowed: "config.json"        */
    char        section[64];         /* "text_config." or ""           */
    struct hparams *root;            /* NULL: this is the root         */
    struct err *e;                   /* used in the root alone: gets the first error   */
    bool        failed;              /* used in the root alone: there was an error     */
};

/* A missing file is an error if `required`, an empty object otherwise. */
int  hparams_open(struct hparams *h, const char *dir, const char *file, bool required, struct err *e);
void hparams_close(struct hparams *h);
int  hparams_end(const struct hparams *h);   /* -1: something was wrong */

bool           hparams_has(const struct hparams *h, const char *names);
/* The nested object of that name, or `h` itself where there is none. The root must stay where it is. */
struct hparams hparams_section(struct hparams *h, const char *name);
/* The nested object of that name, or an empty one. */
struct hparams hparams_object(struct hparams *h, const char *names);
int64_t        hparams_int(struct hparams *h, const char *names, int64_t def, int64_t min, int64_t max);
double         hparams_number(struct hparams *h, const char *names, double def, double min, double max);
bool           hparams_bool(struct hparams *h, const char *names, bool def);
/* Borrowed; `def` may be NULL. */
const char    *hparams_string(struct hparams *h, const char *names, const char *def);
/* A list of integers or one integer; returns how many (at most max; more is an error). */
int            hparams_ints(struct hparams *h, const char *names, int *out, int max, int64_t least, int64_t most);
/* A list of anything, borrowed; NULL: there is none, or something else, which is an error. */
const json_t  *hparams_list(struct hparams *h, const char *names);
int            hparams_numbers(struct hparams *h, const char *names, double *out, int max);
/* Notes an error about a field; returns -1. */
int            hparams_fail(struct hparams *h, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif

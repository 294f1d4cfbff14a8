/* fetch/wanted.h - which files of a model are needed to serve it. */
#ifndef FETCH_WANTED_H
#define FETCH_WANTED_H
#include <stdbool.h>

#include "base/err.h"

enum { WANTED_MAX_SHARDS = 2000 };

/* Files that every checkpoint may have, weights apart; the first ones it must have. NULL ends the list. */
enum { WANTED_REQUIRED = 2 };
extern const char *const wanted_files[];

extern const char wanted_weights[], wanted_index[];      /* one file, or an index that names shards */

/* A template for some purpose of its own: additional_chat_templates/NAME.jinja */
bool wanted_template(const char *file);

/* The shards that an index in a file names, each once: an array of *n names, to be freed with wanted_free(). A name
 * that is more than the name of a file beside the index is an error. */
int  wanted_shards(const char *index_path, char ***out, int *n, struct err *e);
void wanted_free(char **names, int n);

#endif

/* cli/pictures.h - the files of pictures that a chat has, in the order in which its messages name them. */
#ifndef CLI_PICTURES_H
#define CLI_PICTURES_H
#include "config/options.h"
#include "engine/engine.h"

struct pictures {
    struct chat_image image[OPTIONS_MAX_LIST];     /* owned: data, and field, which is the path */
    int n;
};

/* Adds the file at `path`, of at most `max` bytes. It is not decoded. */
int  pictures_read(struct pictures *p, const char *path, size_t max, struct err *e);
/* Likewise of all these. */
int  pictures_read_all(struct pictures *p, const struct string_list *paths, size_t max, struct err *e);
/* Keeps the first n. */
void pictures_cut(struct pictures *p, int n);

#endif

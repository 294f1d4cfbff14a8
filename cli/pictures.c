/* cli/pictures.c - see pictures.h. */
#include "cli/pictures.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"

/* Reads a file of at most `max` bytes and adds it to the pictures, which own it. -1: it cannot be read or is too large,
 * and nothing was added. */
int pictures_read(struct pictures *p, const char *path, size_t max, struct err *e)
{
    struct buf file;
    if (p->n == OPTIONS_MAX_LIST)
        return err_field(e, path, "%s: there are %d pictures already", path, p->n);
    buf_init(&file, max);
    int rc = file_must_read(path, &file, e);
    bool too_large = rc < 0 && !buf_ok(&file) && !file.starved;
    size_t n = file.len;
    char *data = rc == 0 ? buf_take(&file) : NULL;
    buf_free(&file);
    if (too_large)
        return err_field(e, path, "%s is larger than --max-image-bytes", path);
    if (!data)
        return rc < 0 ? -1 : err_memory(e);
    p->image[p->n++] = (struct chat_image){ .data = data, .n = n, .field = xstrdup(path) };
    return 0;
}

int pictures_read_all(struct pictures *p, const struct string_list *paths, size_t max, struct err *e)
{
    for (int i = 0; i < paths->n; i++)
        if (pictures_read(p, paths->item[i], max, e) != 0)
            return -1;
    return 0;
}

void pictures_cut(struct pictures *p, int n)
{
    while (p->n > n) {
        p->n--;
        free((void *)p->image[p->n].data);
        free((void *)p->image[p->n].field);
    }
}

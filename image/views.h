/* image/views.h - the views of a recipe, made while the rows of the picture come
 * in. Private to image/.
 *
 *     views_begin(&v, &recipe, info, &out, &e);    // takes all memory but that of views made of views
 *     ... rows of the picture as stored into views_sink(&v) ...
 *     views_finish(&v, &e);                        // turned, laid on their canvases, then the views made of views
 *     views_free(&v);                              // in any case; `out` stays */
#ifndef IMAGE_VIEWS_H
#define IMAGE_VIEWS_H
#include "image/formats.h"
#include "image/resize.h"

/* One side of a view. What the canvas cuts off is left out of `resize`, or where the side keeps its length, of the
 * rectangle. */
struct cut {
    int start, length;       /* of the rectangle                        */
    struct extent resize;
    int at;                  /* where the result begins on the canvas   */
};

struct branch {              /* a view while its picture comes in       */
    const struct image_view *view;     /* borrowed                      */
    struct cut cut_x, cut_y;           /* of the upright picture        */
    int x, y, width, height;           /* the rectangle in the picture as it is stored */
    int orientation;
    struct passes passes;    /* owned */
    struct resize resize;    /* owned */
    struct pixels result;    /* what the resize makes, as it is stored: the canvas itself, or ... */
    bool own;                /* ... memory of its own, owned            */
};

struct views {
    struct sink sink;        /* first: hands every row to all branches  */
    const struct image_recipe *recipe; /* borrowed                      */
    int width, height;       /* of the picture as it is stored          */
    int row;                 /* that comes next                         */
    uint8_t *line;           /* owned, (width, 3): the row              */
    uint8_t *canvas[IMAGE_MAX_VIEWS];  /* owned where the view is hidden, else a part of `out` */
    struct branch branch[IMAGE_MAX_VIEWS];     /* those of the picture itself */
    int n_branches;
};

/* Is it a recipe for an upright picture of that size? */
int  views_check(const struct image_recipe *r, int width, int height, struct err *e);
int  views_begin(struct views *v, const struct image_recipe *r, const struct image_info *info, struct pixels *out,
                 struct err *e);
struct sink *views_sink(struct views *v);
int  views_finish(struct views *v, struct err *e);
void views_free(struct views *v);

/* What all of it holds at most while rows come in, beside the decoder; and *later, while views are made of views. Both
 * with the result. */
size_t views_bytes(const struct image_recipe *r, const struct image_info *info, size_t *later);

#endif

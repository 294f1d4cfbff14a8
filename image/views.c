/* image/views.c - several pictures made of one: each a rectangle of it that is
 * resized and laid on a canvas, see struct image_view.
 *
 * Views of the picture itself are made at the same time, row by row as it is
 * decoded, each by a resize of its own; so the picture is never there as a
 * whole. Views of views follow one after the other. A picture that is stored
 * turned is resized as it is stored, and turned on the way to the canvas. */
#include "image/views.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SIDE = 1 << 24 };                      /* of a rectangle or a result: catches wrong numbers */
static const size_t max_pixels = (size_t)1 << 28; /* of all canvases */

struct image_recipe image_resized(const struct resize_to *to)
{
    return (struct image_recipe){ .filter = to->filter, .how = to->how, .n = 1,
                                  .view = { { .from = IMAGE_SOURCE, .to_w = to->width, .to_h = to->height,
                                              .width = to->width, .height = to->height } } };
}

static size_t canvas_bytes(const struct image_view *v) { return (size_t)v->width * (size_t)v->height * 3; }

size_t image_recipe_bytes(const struct image_recipe *to)
{
    size_t n = 0;
    for (int i = 0; i < to->n; i++) n += to->view[i].hidden ? 0 : canvas_bytes(&to->view[i]);
    return n;
}

static int least(int a, int b) { return a < b ? a : b; }

/* One side of a view of a picture whose side has `whole` pixels. */
static struct cut cut_side(int whole, int start, int length, int to, int left, int canvas)
{
    int first = left < 0 ? -left : 0, n = least(to, canvas - left) - first;
    if (length == 0) start = 0, length = whole;
    struct extent resize = { length, to, first, n };
    if (length == to) start += first, length = n;
    return (struct cut){ start, length, resize, left + first };
}

static struct cut cut_x(const struct image_view *v, int width)
{
    return cut_side(width, v->x, v->w, v->to_w, v->left, v->width);
}

static struct cut cut_y(const struct image_view *v, int height)
{
    return cut_side(height, v->y, v->h, v->to_h, v->top, v->height);
}

/* ---- checks ---- */

static bool is_side(int n) { return n >= 1 && n <= MAX_SIDE; }
static bool is_place(int n) { return n >= -MAX_SIDE && n <= MAX_SIDE; }

/* The view's own numbers, and whether anything of its result lies on its canvas. */
static bool view_fits(const struct image_view *v, int index)
{
    bool whole = v->w == 0 && v->h == 0;
    return v->from >= IMAGE_SOURCE && v->from < index && (whole || (is_side(v->w) && is_side(v->h))) &&
           is_place(v->x) && is_place(v->y) && is_side(v->to_w) && is_side(v->to_h) && is_side(v->width) &&
           is_side(v->height) && is_place(v->left) && is_place(v->top) && v->left < v->width && v->top < v->height &&
           v->left > -v->to_w && v->top > -v->to_h;
}

int views_check(const struct image_recipe *r, int width, int height, struct err *e)
{
    size_t pixels = 0, shown = 0;
    if (resize_check(r->filter, r->how, e)) return -1;
    for (int i = 0; i < r->n; i++) {
        const struct image_view *v = &r->view[i];
        if (!view_fits(v, i) || canvas_bytes(v) / 3 > max_pixels - pixels)
            return err_set(e, "cannot make an image of %dx%d of one of %dx%d", v->width, v->height, width, height);
        pixels += canvas_bytes(v) / 3;
        shown += !v->hidden;
    }
    return shown ? 0 : err_set(e, "cannot make an image of 0x0 of one of %dx%d", width, height);
}

/* ---- one view ---- */

/* Where a stretch of one side begins in the picture as it is stored. */
static int stored_start(int start, int length, int whole, bool mirrored)
{
    return mirrored ? whole - start - length : start;
}

/* The rectangle of the upright picture becomes that of the stored one, of width x height. */
static void place_rectangle(struct branch *b, int width, int height)
{
    int o = b->orientation;
    const struct cut *x = o >= 5 ? &b->cut_y : &b->cut_x, *y = o >= 5 ? &b->cut_x : &b->cut_y;
    b->width = x->length;
    b->height = y->length;
    b->x = stored_start(x->start, b->width, width, o == 2 || o == 3 || o == 7 || o == 8);
    b->y = stored_start(y->start, b->height, height, o == 3 || o == 4 || o == 6 || o == 7);
}

/* Does the result fill the canvas, so that it can be made there? */
static bool fills_canvas(const struct branch *b)
{
    return b->cut_x.resize.n == b->view->width && b->cut_y.resize.n == b->view->height;
}

/* Prepares a view of a stored picture of width x height. -1: memory; branch_free() in any case. */
static int branch_begin(struct branch *b, const struct image_recipe *r, const struct image_view *v, int width,
                        int height, int orientation, uint8_t *canvas, struct err *e)
{
    bool turned = orientation >= 5;
    *b = (struct branch){ .view = v, .orientation = orientation, .cut_x = cut_x(v, turned ? height : width),
                          .cut_y = cut_y(v, turned ? width : height) };
    place_rectangle(b, width, height);
    int w = turned ? b->cut_y.resize.n : b->cut_x.resize.n, h = turned ? b->cut_x.resize.n : b->cut_y.resize.n;
    b->own = orientation > 1 || !fills_canvas(b);
    if (b->own && pixels_alloc(&b->result, w, h, e)) return -1;
    if (!b->own) b->result = (struct pixels){ canvas, w, h };
    if (passes_init_part(&b->passes, &b->cut_x.resize, &b->cut_y.resize, r->filter, r->how))
        return image_no_memory(e, 0);
    passes_turn(&b->passes, orientation, b->width, b->height);
    return resize_init(&b->resize, &b->passes, b->width, b->height, &b->result) ? image_no_memory(e, 0) : 0;
}

static void branch_free(struct branch *b)
{
    resize_free(&b->resize);
    passes_free(&b->passes);
    if (b->own) pixels_free(&b->result);
}

static void fill(uint8_t *to, size_t pixels, const uint8_t colour[3])
{
    for (size_t i = 0; i < pixels; i++) memcpy(to + 3 * i, colour, 3);
}

/* One row of the rectangle: the pixels of a row of the picture that are in it, and the colour around them. NULL: it
 * lies outside of the picture. */
static void feed(struct branch *b, const uint8_t *row, int width)
{
    struct sink *s = &b->resize.sink;
    uint8_t *to = s->room(s);
    int from = b->x > 0 ? b->x : 0, end = least(b->x + b->width, width);
    if (!row || from >= end) {
        fill(to, (size_t)b->width, b->view->fill);
    } else {
        fill(to, (size_t)(from - b->x), b->view->fill);
        memcpy(to + (size_t)(from - b->x) * 3, row + (size_t)from * 3, (size_t)(end - from) * 3);
        fill(to + (size_t)(end - b->x) * 3, (size_t)(b->x + b->width - end), b->view->fill);
    }
    s->take(s);
}

/* Row y of a picture of width x height. The first one comes after the rows of the rectangle that lie above the picture,
 * the last one before those that lie below it. */
static void feed_at(struct branch *b, const uint8_t *row, int y, int width, int height)
{
    int end = b->y + b->height;
    for (int k = b->y; y == 0 && k < least(0, end); k++) feed(b, NULL, width);
    if (y >= b->y && y < end) feed(b, row, width);
    for (int k = b->y > height ? b->y : height; y == height - 1 && k < end; k++) feed(b, NULL, width);
}

/* Lays the result on the canvas, turned upright, with the colour around it. */
static void branch_finish(struct branch *b, uint8_t *canvas)
{
    const struct image_view *v = b->view;
    if (!b->own) return;
    if (!fills_canvas(b)) fill(canvas, (size_t)v->width * (size_t)v->height, v->fill);
    size_t at = ((size_t)b->cut_y.at * (size_t)v->width + (size_t)b->cut_x.at) * 3;
    pixels_upright_into(canvas + at, v->width, &b->result, b->orientation);
}

/* ---- all of them ---- */

static uint8_t *views_room(struct sink *sink) { return ((struct views *)sink)->line; }

static void views_take(struct sink *sink)
{
    struct views *v = (struct views *)sink;
    for (int i = 0; i < v->n_branches; i++) feed_at(&v->branch[i], v->line, v->row, v->width, v->height);
    v->row++;
}

/* Is there one view, of the whole picture, so that rows may go straight into its resize? */
static bool is_plain(const struct views *v)
{
    const struct branch *b = &v->branch[0];
    return v->n_branches == 1 && b->x == 0 && b->y == 0 && b->width == v->width && b->height == v->height;
}

struct sink *views_sink(struct views *v) { return is_plain(v) ? &v->branch[0].resize.sink : &v->sink; }

/* Gives every view its canvas: in `out`, one behind the other, or memory of its own if it is hidden. */
static int make_canvases(struct views *v, struct pixels *out, struct err *e)
{
    const struct image_recipe *r = v->recipe;
    size_t bytes = image_recipe_bytes(r), at = 0;
    out->data = malloc(bytes);
    if (!out->data) return image_no_memory(e, bytes);
    for (int i = 0; i < r->n; i++) {
        const struct image_view *view = &r->view[i];
        if (view->hidden && !(v->canvas[i] = malloc(canvas_bytes(view))))
            return image_no_memory(e, canvas_bytes(view));
        if (view->hidden) continue;
        if (at == 0) out->width = view->width, out->height = view->height;
        v->canvas[i] = out->data + at;
        at += canvas_bytes(view);
    }
    return 0;
}

/* -1: `v` and `out` are still to be freed. */
int views_begin(struct views *v, const struct image_recipe *r, const struct image_info *info, struct pixels *out,
                struct err *e)
{
    bool turned = info->orientation >= 5;
    *v = (struct views){ .sink = { views_room, views_take }, .recipe = r, .width = info->width,
                         .height = info->height };
    *out = (struct pixels){ 0 };
    if (views_check(r, turned ? info->height : info->width, turned ? info->width : info->height, e) ||
        make_canvases(v, out, e)) return -1;
    for (int i = 0; i < r->n; i++)
        if (r->view[i].from == IMAGE_SOURCE &&
            branch_begin(&v->branch[v->n_branches++], r, &r->view[i], info->width, info->height, info->orientation,
                         v->canvas[i], e)) return -1;
    if (is_plain(v) || (v->line = malloc((size_t)v->width * 3))) return 0;
    return image_no_memory(e, (size_t)v->width * 3);
}

/* A view of an earlier one, whose canvas is there. */
static int view_of_view(struct views *v, int i, struct err *e)
{
    const struct image_view *from = &v->recipe->view[v->recipe->view[i].from];
    const uint8_t *row = v->canvas[v->recipe->view[i].from];
    struct branch b;
    int rc = branch_begin(&b, v->recipe, &v->recipe->view[i], from->width, from->height, 1, v->canvas[i], e);
    for (int y = 0; y < from->height && rc == 0; y++, row += (size_t)from->width * 3)
        feed_at(&b, row, y, from->width, from->height);
    if (rc == 0) branch_finish(&b, v->canvas[i]);
    branch_free(&b);
    return rc;
}

int views_finish(struct views *v, struct err *e)
{
    const struct image_recipe *r = v->recipe;
    for (int i = 0; i < v->n_branches; i++) {
        branch_finish(&v->branch[i], v->canvas[v->branch[i].view - r->view]);
        branch_free(&v->branch[i]);
    }
    v->n_branches = 0;
    free(v->line);
    v->line = NULL;
    for (int i = 0; i < r->n; i++)
        if (r->view[i].from != IMAGE_SOURCE && view_of_view(v, i, e)) return -1;
    return 0;
}

void views_free(struct views *v)
{
    for (int i = 0; i < v->n_branches; i++) branch_free(&v->branch[i]);
    for (int i = 0; i < v->recipe->n; i++)
        if (v->recipe->view[i].hidden) free(v->canvas[i]);
    free(v->line);
}

/* ---- memory ---- */

/* Of a view beside its canvas: a result of its own, and its resize. width, height: of the upright picture. */
static size_t branch_bytes(const struct image_recipe *r, const struct image_view *v, int width, int height,
                           int orientation)
{
    struct cut x = cut_x(v, width), y = cut_y(v, height);
    bool own = orientation > 1 || x.resize.n != v->width || y.resize.n != v->height;
    return (own ? (size_t)x.resize.n * (size_t)y.resize.n * 3 : 0) +
           resize_bytes(&x.resize, &y.resize, r->filter, r->how, orientation);
}

size_t views_bytes(const struct image_recipe *r, const struct image_info *info, size_t *later)
{
    bool turned = info->orientation >= 5;
    int width = turned ? info->height : info->width, height = turned ? info->width : info->height;
    size_t canvases = 0, rows = 0, most = 0;
    for (int i = 0; i < r->n; i++) {
        const struct image_view *v = &r->view[i];
        canvases += canvas_bytes(v);
        if (v->from == IMAGE_SOURCE) {
            rows += branch_bytes(r, v, width, height, info->orientation);
            continue;
        }
        const struct image_view *from = &r->view[v->from];
        size_t bytes = branch_bytes(r, v, from->width, from->height, 1);
        most = bytes > most ? bytes : most;
    }
    *later = canvases + most;
    return canvases + rows + (size_t)info->width * 3;
}

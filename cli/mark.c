/* cli/mark.c - draws on a copy of a screenshot where an action of the model points to, for people who want to see what
 * it would tap. Coordinates of actions go from 0 to 999 across the screen, whatever its size. */
#include "cli/mark.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/point.h"
#include "image/image.h"

enum { MAX_FILE = 64 << 20, USAGE = 2 };

struct point { double x, y; };     /* pixels */

/* A point of the action, in the middle of what its whole numbers stand for. */
static int find_point(const char *action, const char *name, const struct pixels *px, struct point *out)
{
    int x, y;
    if (point_find(action, name, &x, &y) != 0)
        return -1;
    out->x = (x + 0.5) / 1000 * px->width;
    out->y = (y + 0.5) / 1000 * px->height;
    return 0;
}

/* A red ring with a white rim around p and a dot in its middle, so that it is seen on any background. The line is
 * clipped to the picture; sizes follow its shorter side. */
static void draw_ring(struct pixels *px, struct point p)
{
    double radius = (px->width < px->height ? px->width : px->height) * 0.06, line = radius * 0.16;
    int x0 = (int)(p.x - 2 * radius), x1 = (int)(p.x + 2 * radius), y0 = (int)(p.y - 2 * radius),
        y1 = (int)(p.y + 2 * radius);
    for (int y = y0 < 0 ? 0 : y0; y <= y1 && y < px->height; y++)
        for (int x = x0 < 0 ? 0 : x0; x <= x1 && x < px->width; x++) {
            double dx = x + 0.5 - p.x, dy = y + 0.5 - p.y, d2 = dx * dx + dy * dy;
            double in = radius - line, out = radius + line, rim = line * 0.7;
            int red = (d2 >= in * in && d2 <= out * out) || d2 <= line * line * 2;
            int white = d2 >= (in - rim) * (in - rim) && d2 <= (out + rim) * (out + rim);
            uint8_t *to = px->data + ((size_t)y * (size_t)px->width + (size_t)x) * 3;
            if (red)
                memcpy(to, (uint8_t[3]){ 230, 30, 40 }, 3);
            else if (white)
                memcpy(to, (uint8_t[3]){ 255, 255, 255 }, 3);
        }
}

/* Decodes the picture, draws every point that the action names (element, start, end) and writes a PNG. An action
 * without a point is an error, because the result would look like the input. */
static int mark(const char *in, const char *action, const char *out, struct err *e)
{
    static const char *const names[] = { "element", "start", "end" };
    struct image_limits limits = { MAX_FILE, 8192, (size_t)8192 * 8192 };
    struct buf file, png;
    struct pixels px = { 0 };
    int points = 0, rc = -1;
    buf_init(&file, MAX_FILE);
    buf_init(&png, (size_t)MAX_FILE * 4);
    if (file_must_read(in, &file, e) < 0)
        goto out;
    if (image_decode(file.data, file.len, &limits, NULL, &px, e) < 0) {
        err_prefix(e, "%s", in);
        goto out;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct point p;
        if (find_point(action, names[i], &px, &p) == 0) {
            draw_ring(&px, p);
            points++;
        }
    }
    if (!points) {
        err_set(e, "the action '%s' has no point", action);
        goto out;
    }
    if (png_write(&px, &png, e) < 0)
        goto out;
    FILE *f = fopen(out, "wb");
    if (!f || fwrite(png.data, 1, png.len, f) != png.len) {
        err_set(e, "%s: cannot be written", out);
        if (f)
            fclose(f);
        goto out;
    }
    rc = fclose(f) == 0 ? 0 : err_set(e, "%s: cannot be written", out);
out:
    pixels_free(&px);
    buf_free(&file);
    buf_free(&png);
    return rc;
}

/* `openautoglm mark`: two files and the action between them; what is wrong is told in one line. */
int command_mark(int argc, char **argv)
{
    struct err e = { 0 };
    if (argc != 4) {
        fprintf(stderr, "usage: openautoglm mark SCREENSHOT ACTION OUT.png\n"
                        "  marks the points of ACTION, such as 'do(action=\"Tap\", element=[500,300])'\n");
        return USAGE;
    }
    if (mark(argv[1], argv[2], argv[3], &e) < 0) {
        fprintf(stderr, "openautoglm mark: %s\n", e.text);
        return 1;
    }
    return 0;
}

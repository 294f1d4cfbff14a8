/* cli/preview.c - see preview.h. */
#include "cli/preview.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "cli/editor.h"

enum {
    WIDTH = 400, HEIGHT = 320,         /* most pixels of the copy               */
    OUT_BYTES = 16 << 20,
    CHUNK = 4096,                      /* of kitty's protocol: characters of one piece */
    LEVELS = 6, COLOURS = LEVELS * LEVELS * LEVELS,
    BAND = 6,                          /* rows of pixels that a sixel has       */
};

/* ---- what the terminal can ---- */

/* Whether the terminal speaks kitty's protocol for pictures, as far as its name tells. Not within tmux or screen, which
 * swallow it. */
static bool names_kitty(void)
{
    static const char *const programs[] = { "ghostty", "WezTerm", "kitty" };
    const char *term = getenv("TERM"), *program = getenv("TERM_PROGRAM");
    bool named = getenv("KITTY_WINDOW_ID") || (term && (strstr(term, "kitty") || strstr(term, "ghostty")));
    for (size_t i = 0; program && i < sizeof programs / sizeof *programs; i++)
        named |= strcmp(program, programs[i]) == 0;
    return named && !getenv("TMUX") && !getenv("STY");
}

/* The fourth of the features in an answer such as "\033[?62;4;22c" is sixels. */
static bool has_sixels(const char *answer)
{
    for (const char *p = strstr(answer, "\033[?"); p && *p; p = strpbrk(p, ";c")) {
        p += *p == ';' ? 1 : 3;
        if (atoi(p) == 4 && p[-1] == ';')
            return true;
    }
    return false;
}

/* The last question is one that every terminal answers, so that nobody waits for an answer that does not come. */
enum preview preview_choose(const char *option)
{
    static const char kitty[] = "\033_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\033\\\033[c", any[] = "\033[c";
    const char *term = getenv("TERM");
    char answer[256];
    if (strcmp(option, "kitty") == 0)
        return PREVIEW_KITTY;
    if (strcmp(option, "sixel") == 0)
        return PREVIEW_SIXEL;
    if (strcmp(option, "auto") != 0 || !term || strcmp(term, "linux") == 0)
        return PREVIEW_OFF;
    editor_ask_terminal(names_kitty() ? kitty : any, 'c', answer, sizeof answer);
    if (strstr(answer, "\033_Gi=31;OK"))
        return PREVIEW_KITTY;
    return has_sixels(answer) ? PREVIEW_SIXEL : PREVIEW_OFF;
}

/* ---- kitty ---- */

/* A PNG in base64, in pieces: all but the last say that more follow. */
static int write_kitty(const struct pixels *p, struct buf *out, struct err *e)
{
    struct buf png;
    buf_init(&png, OUT_BYTES);
    int   rc = png_write(p, &png, e);
    char *text = rc == 0 ? malloc(base64_length(png.len) + 1) : NULL;
    if (rc == 0 && !text)
        rc = err_memory(e);
    size_t n = rc == 0 ? base64_length(png.len) : 0;
    if (rc == 0)
        base64_encode(text, (const uint8_t *)png.data, png.len);
    for (size_t i = 0; i < n; i += CHUNK) {
        size_t k = n - i < CHUNK ? n - i : CHUNK;
        buf_printf(out, i == 0 ? "\033_Gf=100,a=T,q=2,m=%d;" : "\033_Gm=%d;", i + k < n);
        buf_add(out, text + i, k);
        buf_str(out, "\033\\");
    }
    free(text);
    buf_free(&png);
    return rc;
}

/* ---- sixels ---- */

static int colour_of(const uint8_t *rgb)
{
    int index = 0;
    for (int i = 0; i < 3; i++)
        index = index * LEVELS + (rgb[i] * (LEVELS - 1) + 127) / 255;
    return index;
}

/* A run of equal sixels: "!12~" is twelve times '~'. */
static void write_run(struct buf *out, int length, int bits)
{
    if (length > 3)
        buf_printf(out, "!%d%c", length, '?' + bits);
    else
        for (int i = 0; i < length; i++)
            buf_byte(out, (char)('?' + bits));
}

/* The rows y .. y + 5 in one colour: a sign for each column, whose bits are the rows that have it. */
static void write_colour(const uint8_t *index, const struct pixels *p, int y, int colour, struct buf *out)
{
    int run = 0, last = 0;
    buf_printf(out, "#%d", colour);
    for (int x = 0; x < p->width; x++) {
        int bits = 0;
        for (int k = 0; k < BAND && y + k < p->height; k++)
            bits |= (index[(size_t)(y + k) * (size_t)p->width + (size_t)x] == colour) << k;
        if (run > 0 && bits != last) {
            write_run(out, run, last);
            run = 0;
        }
        last = bits;
        run++;
    }
    write_run(out, run, last);
    buf_byte(out, '$');
}

/* 216 colours, each band of six rows once for every colour in it. */
static int write_sixel(const struct pixels *p, struct buf *out, struct err *e)
{
    size_t   n = (size_t)p->width * (size_t)p->height;
    uint8_t *index = malloc(n);
    if (!index)
        return err_memory(e);
    for (size_t i = 0; i < n; i++)
        index[i] = (uint8_t)colour_of(p->data + 3 * i);
    buf_printf(out, "\033Pq\"1;1;%d;%d", p->width, p->height);
    for (int c = 0; c < COLOURS; c++)
        buf_printf(out, "#%d;2;%d;%d;%d", c, c / (LEVELS * LEVELS) * 20, c / LEVELS % LEVELS * 20, c % LEVELS * 20);
    for (int y = 0; y < p->height; y += BAND) {
        bool there[COLOURS] = { false };
        int  rows = p->height - y < BAND ? p->height - y : BAND;
        for (size_t i = (size_t)y * (size_t)p->width; i < (size_t)(y + rows) * (size_t)p->width; i++)
            there[index[i]] = true;
        for (int c = 0; c < COLOURS; c++)
            if (there[c])
                write_colour(index, p, y, c, out);
        buf_byte(out, '-');
    }
    buf_str(out, "\033\\");
    free(index);
    return 0;
}

/* ---- */

int preview_write(enum preview how, const struct pixels *p, struct buf *out, struct err *e)
{
    int rc = how == PREVIEW_KITTY ? write_kitty(p, out, e) : write_sixel(p, out, e);
    return rc == 0 && !buf_ok(out) ? buf_error(out, e, "the preview is too large") : rc;
}

/* The picture's size within WIDTH and HEIGHT; never larger than it is. */
static void fit(const struct pixels *p, int *width, int *height)
{
    double x = (double)WIDTH / p->width, y = (double)HEIGHT / p->height, scale = x < y ? x : y;
    scale = scale > 1 ? 1 : scale;
    *width = (int)(p->width * scale) > 0 ? (int)(p->width * scale) : 1;
    *height = (int)(p->height * scale) > 0 ? (int)(p->height * scale) : 1;
}

/* Shows a picture in the terminal, in the way that was chosen. A picture that cannot be shown is simply not shown: the
 * preview is a comfort and no part of the conversation. */
void preview_show(enum preview how, const void *file, size_t n)
{
    struct image_limits limits = { .max_bytes = n, .max_pixels = (size_t)1 << 26 };
    struct pixels px, small;
    struct buf    out;
    int width, height;
    if (how == PREVIEW_OFF || image_decode(file, n, &limits, NULL, &px, NULL) != 0)
        return;
    fit(&px, &width, &height);
    buf_init(&out, OUT_BYTES);
    if (pixels_resize(&small, &px, width, height, FILTER_BOX, RESIZER_PIL, NULL) == 0) {
        if (preview_write(how, &small, &out, NULL) == 0) {
            fwrite(out.data, 1, out.len, stdout);
            fputc('\n', stdout);
            fflush(stdout);
        }
        pixels_free(&small);
    }
    pixels_free(&px);
    buf_free(&out);
}

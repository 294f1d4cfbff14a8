/* image/gif.c - GIF through giflib: the first frame on its canvas, as Pillow
 * shows it. giflib unpacks the pixels; the blocks before them are walked here.
 *
 * The canvas is the logical screen, made larger where the frame reaches beyond
 * it. Around the frame it has the transparent colour where there is one, which
 * goes over white, else colour 0; the background colour is not used. Without a
 * colour table, or with one that is a ramp of greys, an index is a grey; beyond
 * the end of another table it is black. */
#include "image/formats.h"

#include <stdlib.h>
#include <string.h>

#include <gif_lib.h>

enum { SCREEN = 13, DESCRIPTOR = 10, COLOURS = 256, EXTENSION = '!', IMAGE = ',', TRAILER = ';',
       GRAPHIC_CONTROL = 0xF9 };

struct frame {
    size_t head, at;         /* ends of the screen's part; where the frame's part begins */
    int    x, y, width, height;
    int    canvas_width, canvas_height;
    int    transparent;      /* index; -1: none                                          */
    bool   interlaced;
    struct span table;       /* the colours, three bytes each                            */
};

/* The table of colours that `flags` announce; false: the file ends within it. */
static bool read_table(const uint8_t *p, size_t n, size_t *at, unsigned flags, struct span *table)
{
    size_t bytes = flags & 0x80 ? (size_t)3 << ((flags & 7) + 1) : 0;
    if (bytes > n - *at) return false;
    if (bytes) *table = (struct span){ p + *at, bytes };
    *at += bytes;
    return true;
}

/* Goes behind an extension, whose blocks each begin with their length; a length of 0 ends it. Only the graphic control
 * is looked into: it names the transparent index of the frame that follows. false: the file ends within it. */
static bool read_extension(const uint8_t *p, size_t n, size_t *at, struct frame *f)
{
    if (n - *at < 2) return false;
    unsigned kind = p[(*at)++];
    for (bool first = true; *at < n; first = false) {
        size_t len = p[(*at)++];
        if (len == 0) return true;
        if (len > n - *at) return false;
        if (first && kind == GRAPHIC_CONTROL && len >= 4 && p[*at] & 1) f->transparent = p[*at + 3];
        *at += len;
    }
    return false;
}

/* Takes the frame's place and size from its descriptor, and enlarges the canvas where the frame reaches beyond it. */
static void read_descriptor(const uint8_t *d, struct frame *f)
{
    f->x = (int)le16(d + 1);
    f->y = (int)le16(d + 3);
    f->width = (int)le16(d + 5);
    f->height = (int)le16(d + 7);
    f->interlaced = d[9] & 0x40;
    if (f->x + f->width > f->canvas_width) f->canvas_width = f->x + f->width;
    if (f->y + f->height > f->canvas_height) f->canvas_height = f->y + f->height;
}

/* Walks over blocks to the first frame and remembers where giflib is to read. Bytes that begin no block are passed
 * over, as Pillow does. The frame's own table of colours takes the place of the screen's. Everything is checked
 * against the length of the file; -1 with the reason if there is no frame with pixels. */
static int find_frame(const uint8_t *p, size_t n, struct frame *f, struct err *e)
{
    size_t at = SCREEN;
    *f = (struct frame){ .transparent = -1 };
    if (n < SCREEN || !read_table(p, n, &at, p[10], &f->table)) return err_set(e, "damaged or cut header");
    f->head = at;
    f->canvas_width = (int)le16(p + 6);
    f->canvas_height = (int)le16(p + 8);
    while (at < n && p[at] != TRAILER) {
        if (p[at] == IMAGE) {
            f->at = at;
            if (n - at < DESCRIPTOR) break;
            read_descriptor(p + at, f);
            at += DESCRIPTOR;
            if (!read_table(p, n, &at, p[at - 1], &f->table)) break;
            return f->width > 0 && f->height > 0 ? 0 : err_set(e, "a frame without pixels");
        }
        if (p[at++] == EXTENSION && !read_extension(p, n, &at, f)) break;
    }
    return err_set(e, at < n && p[at] == TRAILER ? "no frame" : "premature end of the header");
}

/* An interlaced frame is whole only at its end, so all of its indices are held; of others only one row is. */
int gif_probe(const uint8_t *p, size_t n, struct image_info *info, struct err *e)
{
    enum { TABLES = 128 << 10 };    /* giflib's, and one row */
    struct frame f;
    if (find_frame(p, n, &f, e)) return -1;
    info->width = f.canvas_width;
    info->height = f.canvas_height;
    info->holds = TABLES + (f.interlaced ? (size_t)f.width * (size_t)f.height : 0);
    return 0;
}

/* RGB of every index. */
static void fill_colours(uint8_t rgb[COLOURS][3], const struct frame *f)
{
    bool ramp = true;
    for (size_t i = 0; i < f->table.n; i++) ramp = ramp && f->table.p[i] == i / 3;
    for (int i = 0; i < COLOURS; i++) memset(rgb[i], ramp ? i : 0, 3);
    if (f->table.n) memcpy(rgb, f->table.p, f->table.n);
    if (f->transparent >= 0) memset(rgb[f->transparent], 255, 3);
}

/* What giflib reads: the screen's part and the frame's, without what lies between; and behind the end one byte, which
 * closes frames whose last block is missing. */
struct source { const uint8_t *p; size_t n, head, frame, at; };

/* giflib asks for bytes here. It gets the screen's part, then the frame's, as if nothing lay between: extensions can
 * be long and are of no use to it. */
static int read_bytes(GifFileType *gif, GifByteType *to, int count)
{
    struct source *s = gif->UserData;
    if (s->at == s->head) s->at = s->frame;
    if (s->at == s->n && count == 1) {
        *to = 0;
        return 1;
    }
    if (count < 0 || (size_t)count > s->n - s->at) return 0;
    memcpy(to, s->p + s->at, (size_t)count);
    s->at += (size_t)count;
    return count;
}

/* The indices of all rows of an interlaced frame: every eighth, those between, and so on. */
static int read_interlaced(GifFileType *gif, const struct frame *f, uint8_t *index)
{
    static const struct { int first, step; } passes[] = { { 0, 8 }, { 4, 8 }, { 2, 4 }, { 1, 2 } };
    for (int i = 0; i < 4; i++)
        for (int y = passes[i].first; y < f->height; y += passes[i].step)
            if (DGifGetLine(gif, index + (size_t)y * (size_t)f->width, f->width) != GIF_OK) return -1;
    return 0;
}

/* One row of the canvas. `index` is that row of the frame, or NULL where the frame has none. */
static void put_row(struct sink *out, const struct frame *f, const uint8_t *index, uint8_t rgb[COLOURS][3])
{
    uint8_t *to = out->room(out);
    int around = f->transparent > 0 ? f->transparent : 0;
    for (int x = 0; x < f->canvas_width; x++, to += 3) {
        bool inside = index && x >= f->x && x < f->x + f->width;
        memcpy(to, rgb[inside ? index[x - f->x] : around], 3);
    }
    out->take(out);
}

/* index: one row, or where the frame is interlaced all. -1: giflib says why. */
static int read_rows(GifFileType *gif, const struct frame *f, uint8_t *index, struct sink *out)
{
    uint8_t rgb[COLOURS][3];
    fill_colours(rgb, f);
    if (f->interlaced && read_interlaced(gif, f, index)) return -1;
    for (int y = 0; y < f->canvas_height; y++) {
        bool inside = y >= f->y && y < f->y + f->height;
        if (inside && !f->interlaced && DGifGetLine(gif, index, f->width) != GIF_OK) return -1;
        size_t row = f->interlaced ? (size_t)(y - f->y) * (size_t)f->width : 0;
        put_row(out, f, inside ? index + row : NULL, rgb);
    }
    return 0;
}

/* giflib's error in words that say whether the file was cut, damaged, or memory was out. */
static int explain(int code, struct err *e)
{
    switch (code) {
    case D_GIF_ERR_NOT_ENOUGH_MEM: return image_no_memory(e, 0);
    case D_GIF_ERR_READ_FAILED:
    case D_GIF_ERR_EOF_TOO_SOON:   return err_set(e, "premature end of data");
    default:                       return err_set(e, "damaged data");
    }
}

/* Opens giflib on the two parts of the file that matter and lets read_rows() do the work. */
int gif_decode(const uint8_t *p, size_t n, const struct image_info *info, struct sink *out, struct err *e)
{
    struct frame f;
    (void)info;
    if (find_frame(p, n, &f, e)) return -1;
    struct source source = { p, n, f.head, f.at, 0 };
    size_t bytes = (size_t)f.width * (f.interlaced ? (size_t)f.height : 1);
    uint8_t *index = malloc(bytes);
    if (!index) return image_no_memory(e, bytes);
    int code = 0;
    GifRecordType type;
    GifFileType *gif = DGifOpen(&source, read_bytes, &code);
    bool ok = gif && DGifGetRecordType(gif, &type) == GIF_OK && DGifGetImageDesc(gif) == GIF_OK && !read_rows(gif, &f,
        index, out);
    if (!ok) explain(gif ? gif->Error : code, e);
    if (gif) DGifCloseFile(gif, NULL);
    free(index);
    return ok ? 0 : -1;
}

/* image/png.c - PNG through libpng, read and written.
 *
 * Everything becomes 8-bit RGB: palettes are looked up, 1, 2 and 4 bits are
 * scaled, 16 bits keep their high byte (Pillow does so for colour; its own
 * conversion of 16-bit grey clips at 255, which turns almost every picture
 * white, and is not followed). Alpha, and the transparent colour or palette
 * entries of tRNS, are put over white. An APNG is its default image.
 *
 * Only IHDR, PLTE, tRNS and IDAT are given to libpng, so that it inflates no
 * text or profile (png_text.c reads the orientation); a wrong checksum anywhere before the end of
 * the pixels is an error. */
#include "image/formats.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

enum { IHDR_INTERLACE = 28, IHDR_END = 33 };

/* libpng and zlib hold a few rows of at most eight bytes a pixel; an interlaced picture is whole only after its last
 * pass. */
static size_t png_holds(size_t width, size_t height, bool interlaced)
{
    enum { ROW_BYTES = 40, TABLES = 256 << 10 };
    return width * ROW_BYTES + TABLES + (interlaced ? width * height * 4 : 0);
}

/* Size and orientation from the header, before anything is unpacked: a PNG of some kilobytes can claim gigabytes. */
int png_probe(const uint8_t *p, size_t n, struct image_info *info, struct err *e)
{
    if (n < IHDR_END || be32(p + PNG_SIGNATURE) != 13 || memcmp(p + PNG_SIGNATURE + 4, "IHDR", 4))
        return err_set(e, "damaged or cut header");
    uint32_t w = be32(p + 16), h = be32(p + 20);
    if (w > INT32_MAX || h > INT32_MAX) return err_set(e, "damaged header");
    info->width = (int)w;
    info->height = (int)h;
    info->holds = png_holds(w, h, p[IHDR_INTERLACE] != 0);
    return png_orientation(p, n, info, e);
}

struct job {
    const uint8_t *p; /* borrowed: what is left of the file */
    size_t         n;
    size_t         most, allowance; /* bytes of the file that a row may take, and this one still may */
    int            row;  /* rows read of this pass, for the message */
    uint8_t       *rows; /* owned: one row of RGBA, or the whole picture when interlaced */
    bool           starved;  /* an allocation of libpng or zlib failed */
    struct err    *e;    /* borrowed */
};

/* libpng has several words for "out of memory"; whoever asks here knows. */
static png_voidp from_heap(png_structp png, png_alloc_size_t n)
{
    struct job *j = png_get_mem_ptr(png);
    void *p = malloc(n);
    j->starved |= !p;
    return p;
}

static void to_heap(png_structp png, png_voidp p)
{
    (void)png;
    free(p);
}

/* libpng's way out of any depth: the message is kept and control goes back to setjmp(). */
static void on_error(png_structp png, png_const_charp text)
{
    struct job *j = png_get_error_ptr(png);
    if (j->starved)
        image_no_memory(j->e, 0);
    else
        err_set(j->e, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

/* libpng asks for bytes here. Besides the end of the file this checks the allowance of the row: what a file may cost
 * is bounded by its picture and not by its length. */
static void read_bytes(png_structp png, png_bytep to, size_t n)
{
    struct job *j = png_get_io_ptr(png);
    if (n > j->n) {
        err_set(j->e, "premature end of data after row %d", j->row);
        png_longjmp(png, 1);
    }
    if (n > j->allowance) {
        err_set(j->e, "more data than the picture needs after row %d", j->row);
        png_longjmp(png, 1);
    }
    memcpy(to, j->p, n);
    j->p += n;
    j->n -= n;
    j->allowance -= n;
}

/* What libpng is to make of each kind of picture: 8-bit RGB, with alpha where there is any. */
static void want_8_bit_rgb(png_structp png, png_infop info)
{
    int type = png_get_color_type(png, info);
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (type == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
    if (png_get_valid(png, info, PNG_INFO_tRNS)) png_set_tRNS_to_alpha(png);
    if (!(type & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png);
    png_set_strip_16(png);
}

/* Settings that must stand before the header is read: where bytes come from, that every wrong checksum is an error,
 * and that unknown chunks are thrown away. */
static void read_header(png_structp png, png_infop info, struct job *j)
{
    png_set_read_fn(png, j, read_bytes);
    png_set_user_limits(png, INT32_MAX, INT32_MAX); /* the caller's limits were checked before */
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(png, info);
    want_8_bit_rgb(png, info);
}

/* What one row of so many bytes takes of the file at most: incompressible, in
 * chunks of one byte (which cost twelve more), and what is read ahead. libpng
 * inflates to the end of the stream after the last row, however much comes:
 * a megabyte would keep a processor busy for seconds. */
static size_t most_for_a_row(size_t bytes)
{
    enum { AHEAD = 16 << 10 };
    return (bytes + bytes / 1000 + 16) * (1 + PNG_CHUNK) + AHEAD;
}

static void read_row(png_structp png, struct job *j, int y, uint8_t *to)
{
    j->row = y;
    j->allowance = j->most;
    png_read_row(png, to, NULL);
}

/* Hands one row on, over white if it has alpha. */
static void put_row(struct sink *out, const uint8_t *row, size_t width, bool alpha)
{
    uint8_t *to = out->room(out);
    if (alpha) rgba_over_white(to, row, width);
    else memcpy(to, row, width * 3);
    out->take(out);
}

/* Runs under the caller's setjmp. The rows of a picture that comes in one pass go on at once: straight to `out` if
 * they are RGB, through one row of memory if they are RGBA. An interlaced picture is collected whole in j->rows,
 * because its last pass completes every row. */
static void read_rows(png_structp png, png_infop info, struct job *j, const struct image_info *head, struct sink *out)
{
    int passes = png_set_interlace_handling(png), height = head->height;
    j->most = most_for_a_row(png_get_rowbytes(png, info));    /* as stored, before the update */
    png_read_update_info(png, info);
    size_t width = (size_t)head->width;
    bool alpha = png_get_channels(png, info) == 4;
    size_t bytes = width * (alpha ? 4 : 3), kept = alpha ? bytes : 0;
    if (passes > 1) kept = bytes * (size_t)height;
    if (png_get_rowbytes(png, info) != bytes) png_error(png, "unexpected row size");
    if (kept && !(j->rows = malloc(kept))) {
        image_no_memory(j->e, kept);
        png_longjmp(png, 1);
    }
    for (int pass = 0; passes > 1 && pass < passes; pass++)
        for (int y = 0; y < height; y++) read_row(png, j, y, j->rows + (size_t)y * bytes);
    for (int y = 0; y < height; y++) {
        if (passes > 1) {
            put_row(out, j->rows + (size_t)y * bytes, width, alpha);
        } else if (alpha) {
            read_row(png, j, y, j->rows);
            put_row(out, j->rows, width, true);
        } else {
            read_row(png, j, y, out->room(out));
            out->take(out);
        }
    }
}

/* The job lies on the heap and not on the stack: after a longjmp() local variables that changed in between have no
 * certain value. Everything is freed in one place, whether the picture was read or not. */
int png_decode(const uint8_t *p, size_t n, const struct image_info *head, struct sink *out, struct err *e)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j) return image_no_memory(e, sizeof *j);
    *j = (struct job){ .p = p, .n = n, .allowance = n, .e = e };
    png_structp png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, j, on_error, on_warning, j, from_heap, to_heap);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    int rc = -1;
    if (!info) {
        image_no_memory(e, 0);
    } else if (!setjmp(png_jmpbuf(png))) {
        read_header(png, info, j);
        read_rows(png, info, j, head, out);
        rc = 0;
    }
    png_destroy_read_struct(&png, &info, NULL);
    free(j->rows);
    free(j);
    return rc;
}

static void write_bytes(png_structp png, png_bytep from, size_t n)
{
    struct buf *b = png_get_io_ptr(png);
    buf_add(b, from, n);
    if (!buf_ok(b)) png_error(png, "the file is too large");
}

static void flush_nothing(png_structp png) { (void)png; }

/* Level 4 and two filters: a screenshot takes a third of the time of the default settings and a little more room.
 * `out` bounds the file. */
int png_write(const struct pixels *p, struct buf *out, struct err *e)
{
    struct job j = { .e = e };
    png_structp png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning, &j, from_heap,
                                                to_heap);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    int rc = -1;
    if (!info) {
        image_no_memory(e, 0);
    } else if (!setjmp(png_jmpbuf(png))) {
        png_set_write_fn(png, out, write_bytes, flush_nothing);
        png_set_compression_level(png, 4);
        png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB | PNG_FILTER_UP);
        png_set_IHDR(png, info, (png_uint_32)p->width, (png_uint_32)p->height, 8, PNG_COLOR_TYPE_RGB,
                     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        png_write_info(png, info);
        for (int y = 0; y < p->height; y++) png_write_row(png, p->data + (size_t)y * (size_t)p->width * 3);
        png_write_end(png, NULL);
        rc = 0;
    }
    png_destroy_write_struct(&png, &info);
    if (rc) err_prefix(e, "PNG");
    return rc;
}

/* image/jpeg.c - JPEG through libjpeg-turbo, whose defaults (accurate integer
 * DCT, fancy upsampling) are what Pillow uses: equal bytes.
 *
 * Four components are CMYK with Adobe's inverted polarity, as Pillow takes
 * them. Like Pillow, damaged entropy data is accepted (libjpeg only warns) but
 * a file that ends early is an error. A hostile file is bounded three ways: by
 * its size (checked before), by the memory that libjpeg may use for the
 * coefficients of an image in several scans, and by their number. libjpeg's own
 * shrinking while it decodes gives other bytes and is not used. */
#include "image/formats.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

/* Real encoders write about ten scans. Each one costs a pass over the image
 * even when it holds nothing. */
#define MAX_SCANS 64

enum { M_SOF0 = 0xC0, M_DHT = 0xC4, M_JPG = 0xC8, M_DAC = 0xCC, M_SOF15 = 0xCF, M_RST0 = 0xD0, M_SOI = 0xD8,
       M_EOI = 0xD9, M_SOS = 0xDA, M_APP1 = 0xE1, M_TEM = 0x01 };

static bool is_sof(int m) { return m >= M_SOF0 && m <= M_SOF15 && m != M_DHT && m != M_JPG && m != M_DAC; }

static bool has_length(int m) { return m != M_TEM && !(m >= M_RST0 && m <= M_SOI); }

/* Does this frame header begin a progressive picture? */
static bool is_progressive(int m) { return m % 4 == 2; }

struct frame { int marker, components; size_t coefficients; };    /* coefficients: bytes of all */

/* Bytes that libjpeg holds for all coefficients of a picture in several scans: 16 bits for each, in blocks of 8 x 8
 * that fill up the last row and column of units. The sampling factors say how many blocks of each component a unit
 * has. */
static size_t coefficient_bytes(const uint8_t *component, int n, int width, int height)
{
    size_t bytes = 0;
    int most_h = 1, most_v = 1;
    for (int i = 0; i < n; i++) {
        int h = component[3 * i + 1] >> 4, v = component[3 * i + 1] & 15;
        most_h = h > most_h ? h : most_h;
        most_v = v > most_v ? v : most_v;
    }
    size_t across = ((size_t)width + (size_t)most_h * 8 - 1) / ((size_t)most_h * 8);
    size_t down = ((size_t)height + (size_t)most_v * 8 - 1) / ((size_t)most_v * 8);
    for (int i = 0; i < n; i++)
        bytes += across * down * (size_t)(component[3 * i + 1] >> 4) * (size_t)(component[3 * i + 1] & 15) * 64 * 2;
    return bytes;
}

/* Reads a frame header: size, components, and what their coefficients would take. The lengths are checked before the
 * fields are read, because the header may be cut. */
static int read_sof(int marker, const uint8_t *body, size_t len, struct image_info *info, struct frame *frame,
                    struct err *e)
{
    if (len < 6) return err_set(e, "damaged header");
    if (body[0] != 8) return err_set(e, "%d bits a sample are not supported", body[0]);
    if (body[5] != 1 && body[5] != 3 && body[5] != 4)
        return err_set(e, "%d components are not supported", body[5]);
    if (len < 6 + 3 * (size_t)body[5]) return err_set(e, "damaged header");
    info->height = (int)be16(body + 1);
    info->width = (int)be16(body + 3);
    *frame = (struct frame){ marker, body[5], coefficient_bytes(body + 6, body[5], info->width, info->height) };
    return 0;
}

/* What libjpeg holds: rows in several stages, and where a picture comes in more than one scan, as the header of the
 * first tells, all coefficients. */
static size_t jpeg_holds(const struct image_info *info, const struct frame *frame, const uint8_t *scan, size_t n)
{
    /* for a pixel of the width: 32 rows of four components, and more */
    enum { ROW_BYTES = 160, TABLES = 256 << 10 };
    bool several = is_progressive(frame->marker) || n < 3 || scan[2] < frame->components;
    return (size_t)info->width * ROW_BYTES + TABLES + (several ? frame->coefficients : 0);
}

/* What the body of an APP1 marker holds: the first EXIF block and the last XMP packet count, as in Pillow. */
static void read_app1(struct span body, struct span *exif, struct span *xmp)
{
    static const char name[] = "http://ns.adobe.com/xap/1.0/";    /* and its NUL */
    if (exif->n == 0 && body.n >= 6 && !memcmp(body.p, "Exif\0\0", 6)) *exif = body;
    if (body.n >= sizeof name && !memcmp(body.p, name, sizeof name))
        *xmp = (struct span){ body.p + sizeof name, body.n - sizeof name };
}

/* Walks over the markers up to the first scan, because EXIF and XMP may come after the frame header. Rubbish between
 * markers is passed over as libjpeg does it; two frame headers are an error, since libjpeg and this function could
 * then mean different ones. */
int jpeg_probe(const uint8_t *p, size_t n, struct image_info *info, struct err *e)
{
    struct frame frame = { 0 };
    struct span exif = { 0 }, xmp = { 0 };
    size_t at = 2;
    while (at + 1 < n) {
        if (p[at] != 0xFF || p[at + 1] == 0xFF || p[at + 1] == 0) { /* rubbish or fill bytes, as libjpeg skips them */
            at++;
            continue;
        }
        int m = p[at + 1];
        at += 2;
        if (m == M_SOS || m == M_EOI) {
            info->orientation = image_orientation(exif, xmp);
            info->holds = jpeg_holds(info, &frame, p + at, n - at);
            return frame.marker ? 0 : err_set(e, "no frame header before the data");
        }
        if (!has_length(m)) continue;
        if (n - at < 2) break;
        size_t len = be16(p + at);
        if (len < 2 || len > n - at) break;
        const uint8_t *body = p + at + 2;
        if (is_sof(m)) {
            if (frame.marker) return err_set(e, "two frame headers");
            if (read_sof(m, body, len - 2, info, &frame, e)) return -1;
        } else if (m == M_APP1) {
            read_app1((struct span){ body, len - 2 }, &exif, &xmp);
        }
        at += len;
    }
    return err_set(e, "premature end of the header");
}

struct job {
    struct jpeg_decompress_struct jpeg; /* first: libjpeg hands back a pointer to it */
    struct jpeg_error_mgr         errors;
    struct jpeg_progress_mgr      progress;
    jmp_buf                       fail;
    struct err                   *e; /* borrowed */
};

/* libjpeg's way out of any depth: the message is kept and control goes back to setjmp(). */
static void fail_with_message(j_common_ptr c)
{
    struct job *j = (struct job *)c;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    if (c->err->msg_code == JERR_OUT_OF_MEMORY)
        image_no_memory(j->e, 0);
    else
        err_set(j->e, "%s", text);
    longjmp(j->fail, 1);
}

/* Warnings (level -1) are accepted but for the one that the file is at its end. */
static void on_message(j_common_ptr c, int level)
{
    struct job *j = (struct job *)c;
    if (level >= 0 || c->err->msg_code != JWRN_JPEG_EOF) return;
    err_set(j->e, "premature end of data after row %u", j->jpeg.output_scanline);
    longjmp(j->fail, 1);
}

/* Called within every pass. A file of thousands of empty scans would otherwise keep a processor busy for minutes. */
static void on_progress(j_common_ptr c)
{
    struct job *j = (struct job *)c;
    if (j->jpeg.input_scan_number <= MAX_SCANS) return;
    err_set(j->e, "more than %d scans", MAX_SCANS);
    longjmp(j->fail, 1);
}

/* Adobe stores 255 - ink; the arithmetic is Pillow's cmyk2rgb. */
static void rgb_from_cmyk(uint8_t *rgb, const uint8_t *cmyk, int width)
{
    for (int i = 0; i < width; i++, rgb += 3, cmyk += 4) {
        unsigned light = cmyk[3];
        for (int c = 0; c < 3; c++) {
            unsigned t = (255u - cmyk[c]) * light + 128;
            rgb[c] = (uint8_t)(light - (((t >> 8) + t) >> 8));
        }
    }
}

static void rgb_from_gray(uint8_t *rgb, const uint8_t *gray, int width)
{
    for (int i = 0; i < width; i++, rgb += 3) rgb[0] = rgb[1] = rgb[2] = gray[i];
}

/* Runs under the caller's setjmp. RGB rows are decoded straight into `out`; grey and CMYK go through one row of
 * libjpeg's own memory. */
static void read_rows(struct job *j, struct sink *out)
{
    struct jpeg_decompress_struct *c = &j->jpeg;
    int channels = c->num_components, width = (int)c->image_width;
    JSAMPARRAY line = c->mem->alloc_sarray((j_common_ptr)c, JPOOL_IMAGE, c->image_width * 4, 1);
    while (c->output_scanline < c->output_height) {
        uint8_t *row = out->room(out);
        JSAMPROW target = channels == 3 ? row : line[0];
        jpeg_read_scanlines(c, &target, 1);
        if (channels == 1) rgb_from_gray(row, line[0], width);
        if (channels == 4) rgb_from_cmyk(row, line[0], width);
        out->take(out);
    }
}

/* Runs under the caller's setjmp. The size is compared with what jpeg_probe() found: the result was allocated for that
 * one, and a file that shows two readers two sizes must not get further. */
static void decompress(struct job *j, const uint8_t *p, size_t n, const struct image_info *info, struct sink *out)
{
    struct jpeg_decompress_struct *c = &j->jpeg;
    c->mem->max_memory_to_use = (long)info->holds;
    c->progress = &j->progress;
    j->progress.progress_monitor = on_progress;
    jpeg_mem_src(c, p, n);
    jpeg_read_header(c, TRUE);
    if ((int)c->image_width != info->width || (int)c->image_height != info->height) {
        err_set(j->e, "two sizes in one file");
        longjmp(j->fail, 1);
    }
    c->out_color_space = c->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    if (c->num_components == 4) c->out_color_space = JCS_CMYK;
    jpeg_start_decompress(c);
    read_rows(j, out);
}

/* `j` is set before setjmp() and changed only through pointers afterwards, so it is whole after a longjmp(). libjpeg's
 * memory is freed in either case. */
int jpeg_decode(const uint8_t *p, size_t n, const struct image_info *info, struct sink *out, struct err *e)
{
    struct job j;
    memset(&j, 0, sizeof j);
    j.e = e;
    j.jpeg.err = jpeg_std_error(&j.errors);
    j.errors.error_exit = fail_with_message;
    j.errors.emit_message = on_message;
    int rc = -1;
    if (!setjmp(j.fail)) {
        jpeg_create_decompress(&j.jpeg);
        decompress(&j, p, n, info, out);
        rc = 0;
    }
    jpeg_destroy_decompress(&j.jpeg); /* all rows are read: what follows them does not matter */
    return rc;
}

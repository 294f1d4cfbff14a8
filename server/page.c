/* server/page.c - the page for people: the files of web/, which are a part of the program, at / and below /ui/.
 *
 * The page is the same for every model: it asks /live and /v1/models what is served, and chats through the API as any
 * other client does. So it needs no key, and it can be shown while the model loads. A browser may keep the files, but
 * asks each time whether they are still the same (ETag), because another version of the server may listen at the same
 * address tomorrow. */
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "server/handlers.h"
#include "server/reply.h"

/* The bytes of web/FILE become the array page_NAME, which ends at page_NAME_end. The path counts from the folder in
 * which make runs; the Makefile names the files as what this object depends on. */
#define EMBED(name, file)                                                                                     \
    __asm__(".pushsection .rodata\n"                                                                          \
            "page_" #name ":\n"                                                                               \
            ".incbin \"web/" file "\"\n"                                                                      \
            "page_" #name "_end:\n"                                                                           \
            ".byte 0\n"                                                                                       \
            ".popsection\n");                                                                                 \
    extern const char page_##name[] __attribute__((visibility("hidden")));                                    \
    extern const char page_##name##_end[] __attribute__((visibility("hidden")))

EMBED(index, "index.html");
EMBED(style, "style.css");
EMBED(main, "main.js");
EMBED(turn, "turn.js");
EMBED(stream, "stream.js");
EMBED(action, "action.js");
EMBED(snippet, "snippet.js");
EMBED(words, "words.js");

static const char SCRIPT[] = "text/javascript; charset=utf-8";

static const struct page_file {
    const char *path, *type;
    const char *data, *end;    /* the file is data[0, end - data) */
} files[] = {
    { "/", "text/html; charset=utf-8", page_index, page_index_end },
    { "/ui/style.css", "text/css; charset=utf-8", page_style, page_style_end },
    { "/ui/main.js", SCRIPT, page_main, page_main_end },
    { "/ui/turn.js", SCRIPT, page_turn, page_turn_end },
    { "/ui/stream.js", SCRIPT, page_stream, page_stream_end },
    { "/ui/action.js", SCRIPT, page_action, page_action_end },
    { "/ui/snippet.js", SCRIPT, page_snippet, page_snippet_end },
    { "/ui/words.js", SCRIPT, page_words, page_words_end },
};

/* What a browser may do with the page. Everything comes from this server, pictures also from the clipboard or the disk
 * of the person who looks at it; text cannot become markup (trusted types), whatever the script does with it, and no
 * other page may show this one in a frame. */
static const struct { const char *name, *value; } promises[] = {
    { "Content-Security-Policy",
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
      "require-trusted-types-for 'script'; trusted-types 'none'" },
    { "X-Content-Type-Options", "nosniff" },
    { "X-Frame-Options", "DENY" },
    { "Referrer-Policy", "no-referrer" },
    { "Cross-Origin-Resource-Policy", "same-origin" },
    { "Permissions-Policy", "camera=(), microphone=(), geolocation=()" },
    { "Cache-Control", "no-cache" },
};

static const struct page_file *find_file(const char *path)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strcmp(files[i].path, path) == 0)
            return &files[i];
    return NULL;
}

/* Does the browser have these bytes already? It sends the tags that it has, or *, which stands for any. */
static bool is_known(const struct exchange *x, const char *tag)
{
    const char *known = exchange_header(x, "If-None-Match");
    return known && (strcmp(known, "*") == 0 || strstr(known, tag));
}

/* GET / and GET /ui/FILE. Needs no engine. The tag is computed for every request: that takes a tenth of a
 * millisecond, and pages are rare. */
void page_get(struct app *a, struct exchange *x)
{
    (void)a;
    const struct page_file *f = find_file(x->path);
    if (!f) {
        struct err e;
        err_set(&e, "there is nothing at %.200s", x->path);
        e.status = 404;
        reply_error(x, &e);
        return;
    }
    size_t n = (size_t)(f->end - f->data);
    char   digits[65], tag[24];
    sha256_hex(digits, f->data, n);
    snprintf(tag, sizeof tag, "\"%.16s\"", digits);
    exchange_add_header(x, "ETag", "%s", tag);
    for (size_t i = 0; i < sizeof promises / sizeof *promises; i++)
        exchange_add_header(x, promises[i].name, "%s", promises[i].value);
    if (is_known(x, tag)) {
        x->status = 304;
        return;
    }
    x->status = 200;
    x->content_type = f->type;
    buf_add(&x->reply, f->data, n);
}

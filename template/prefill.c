/* template/prefill.c - puts the mark behind the last message and finds it in the
 * rendered text. Templates may trim or rewrite a message, so the text is cut only
 * where the message is found in it as it was given. */
#include "template/prefill.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "template/value.h"

/* The reference's own, with the space behind it: a template that trims the message is told by the space that is
 * gone. */
static const char mark[] = "CONTINUE_FINAL_MESSAGE_TAG ";
enum { MARK = sizeof mark - 1, WORD = MARK - 1 };

/* A new string: the text with the mark behind it. NULL if memory ran out. */
static json_t *with_mark(const json_t *text)
{
    struct buf b;
    buf_init(&b, (size_t)1 << 30);
    buf_add(&b, json_string_value(text), json_string_length(text));
    buf_str(&b, mark);
    json_t *out = buf_ok(&b) ? json_stringn(b.data, b.len) : NULL;
    buf_free(&b);
    return out;
}

/* The place of the last part that has a text; -1 if there is none. */
static long last_text(const json_t *parts)
{
    for (size_t i = json_array_size(parts); i-- > 0;)
        if (json_is_string(json_object_get(json_array_get(parts, i), "text")))
            return (long)i;
    return -1;
}

/* The text is either the content itself or the last part of it that has one. The
 * message is copied down to that text and the copy takes its place in the array, so
 * that the objects of the request stay as they are. */
int prefill_mark(struct prefill *p, json_t *messages, struct err *e)
{
    static const char field[] = "continue_final_message";
    size_t last = json_array_size(messages) - 1;
    json_t *message = json_array_get(messages, last), *content = json_object_get(message, "content");
    const char *role = json_string_value(json_object_get(message, "role"));
    long at = json_is_array(content) ? last_text(content) : -1;
    json_t *part = at >= 0 ? json_array_get(content, (size_t)at) : NULL, *text = part ? json_object_get(part, "text")
        : content;
    *p = (struct prefill){ 0 };
    if (!role || strcmp(role, "assistant") != 0)
        return err_field(e, field, "continue_final_message needs a last message of the assistant, not of %.20s",
                         role ? role : "nobody");
    if (!json_is_string(text))
        return err_field(e, field, "continue_final_message: the last message has no text to go on from");
    p->begun = json_incref(text);
    p->content = with_mark(text);
    message = json_copy(message);
    if (part) {
        json_t *parts = json_copy(content), *copy = json_copy(part);
        json_object_set_new(copy, "text", p->content);
        json_array_set_new(parts, (size_t)at, copy);
        json_object_set_new(message, "content", parts);
    } else {
        json_object_set_new(message, "content", p->content);
    }
    if (json_array_set_new(messages, last, message) != 0 || !p->content) {
        prefill_free(p);
        return err_memory(e);
    }
    return 0;
}

/* Length of s without the white space at its end. */
static size_t stripped(const char *s, size_t n)
{
    int len;
    while (n) {
        size_t k = n - 1;
        while (k && ((unsigned char)s[k] & 0xc0) == 0x80)
            k--;
        if (!uni_space(utf8_get(s + k, n - k, &len)))
            break;
        n = k;
    }
    return n;
}

/* Does the rendered text hold the beginning, apart from white space at its ends, which
 * templates trim? */
static bool holds(const char *text, size_t n, const json_t *begun)
{
    const char *s = json_string_value(begun);
    size_t len = stripped(s, json_string_length(begun)), from = 0;
    int k;
    while (from < len && uni_space(utf8_get(s + from, len - from, &k)))
        from += (size_t)k;
    return from == len || memmem(text, n, s + from, len - from);
}

/* Searches the mark from the end, since the beginning may hold the same words. If the
 * space behind the mark is gone, the template has trimmed the message, and the text is
 * trimmed likewise. */
int prefill_cut(const struct prefill *p, const char *text, size_t *n, struct err *e)
{
    size_t at = *n < WORD ? 0 : *n - WORD + 1;
    while (at > 0 && memcmp(text + at - 1, mark, WORD) != 0)
        at--;
    if (at == 0 || !holds(text, *n, p->begun))
        return err_field(e, "continue_final_message", "continue_final_message: this model's chat template does not "
                         "write the last message as it is, so it cannot be gone on from");
    at--;
    bool spaced = *n - at >= MARK && text[at + WORD] == mark[WORD];
    *n = spaced ? at : stripped(text, at);
    return 0;
}

void prefill_free(struct prefill *p)
{
    json_decref(p->begun);
    *p = (struct prefill){ 0 };
}

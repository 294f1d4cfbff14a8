/* server/json_write.c - strings, values and lists of the JSON that leaves the server. */
#include "server/json_write.h"

#include "base/json.h"
#include "base/utf8.h"

/* Copies runs of plain bytes whole, and looks at every byte to find where a run ends. Text that is not UTF-8 must not
 * leave the server, because clients' JSON parsers refuse the whole answer for it: every malformed byte becomes
 * U+FFFD. */
void json_write_string(struct buf *out, const char *s, size_t n)
{
    buf_byte(out, '"');
    size_t plain = 0;      /* bytes before s + i that can be copied as they are */
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        int           len = 1;
        bool          bad = c >= 0x80 && utf8_get(s + i, n - i, &len) == 0xFFFD && len == 1;
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && !bad) {
            i += (size_t)len;
            continue;
        }
        buf_add(out, s + plain, i - plain);
        if (bad)
            buf_str(out, "\xEF\xBF\xBD");
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_str(out, "\\n");
        else
            buf_printf(out, "\\u%04x", c);
        plain = ++i;
    }
    buf_add(out, s + plain, n - plain);
    buf_byte(out, '"');
}

/* A list whose elements were written before. If that one ran over, so does the answer. */
void json_write_list(struct buf *out, const char *name, const struct buf *list)
{
    buf_printf(out, "\"%s\":[", name);
    buf_add(out, list->data ? list->data : "", list->len);
    buf_byte(out, ']');
    if (!buf_ok(list))
        buf_fail(out, list);
}

/* Members in the order in which they were given, as jansson keeps it: templates show a tool's schema to the model in
 * the client's order. */
static void write_object(struct buf *out, json_t *v)
{
    const char *key, *comma = "";
    size_t n;
    json_t *member;
    buf_byte(out, '{');
    json_object_keylen_foreach(v, key, n, member) {
        buf_str(out, comma);
        json_write_string(out, key, n);
        buf_byte(out, ':');
        json_write_value(out, member);
        comma = ",";
    }
    buf_byte(out, '}');
}

/* Writes any value into `out`, which has a limit, unlike a string from json_dumps(). Numbers too large for 64 bits are
 * written with the digits that they came with. Depth is that of the parsed request, so the recursion is bounded. */
void json_write_value(struct buf *out, const json_t *v)
{
    size_t n = 0;
    const char *big = json_big(v, &n);
    if (big) {
        buf_add(out, big, n);
    } else if (json_is_string(v)) {
        json_write_string(out, json_string_value(v), json_string_length(v));
    } else if (json_is_object(v)) {
        write_object(out, (json_t *)v);
    } else if (json_is_array(v)) {
        buf_byte(out, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            buf_str(out, i ? "," : "");
            json_write_value(out, json_array_get(v, i));
        }
        buf_byte(out, ']');
    } else {
        char  room[64] = "null";       /* more than any number takes */
        size_t len = json_dumpb(v, room, sizeof room, JSON_ENCODE_ANY);
        buf_add(out, len && len <= sizeof room ? room : "null", len && len <= sizeof room ? len : 4);
    }
}

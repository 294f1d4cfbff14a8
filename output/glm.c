/* output/glm.c - a call as GLM-4.5 and later write it:
 *
 *     <tool_call>name
 *     <arg_key>key</arg_key>
 *     <arg_value>value</arg_value>
 *     ...</tool_call>
 *
 * A value of a parameter that the request declares to be a string stands there as it is, and is handed on as it comes;
 * any other is JSON, or else a string after all. */
#include <string.h>

#include "output/format.h"

enum state { NAME, BETWEEN, IN_KEY, BEFORE_VALUE, IN_VALUE };

static const char close_call[] = "</tool_call>", open_key[] = "<arg_key>", close_key[] = "</arg_key>",
                  open_value[] = "<arg_value>", close_value[] = "</arg_value>";

/* Text as the inside of a JSON string. Bytes from 0x80 on stay as they are: the text is UTF-8 already. */
static void argue_escaped(struct output *o, const char *s, size_t n)
{
    char out[8];
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        int len = 1;
        out[0] = s[i];
        if (c == '"' || c == '\\') {
            out[0] = '\\';
            out[1] = s[i];
            len = 2;
        } else if (c < 0x20) {
            static const char hex[] = "0123456789abcdef";
            memcpy(out, "\\u00", 4);
            out[4] = hex[c >> 4];
            out[5] = hex[c & 15];
            len = 6;
        }
        call_argue(o, out, (size_t)len);
    }
}

/* A key is known: it becomes a member of the arguments, and whether its value will be a string is looked up in the
 * request's tools. */
static void argue_key(struct output *o)
{
    struct call_parser *p = o->parser;
    call_argue(o, p->some ? ", \"" : "{\"", p->some ? 3 : 2);
    argue_escaped(o, p->key.data ? p->key.data : "", p->key.len);
    call_argue(o, "\": ", 3);
    p->some = true;
    p->is_string = o->options.names && tool_names_string(o->options.names, p->name.data, p->key.data ? p->key.data : "",
                                                         p->key.len);
    if (p->is_string)
        call_argue(o, "\"", 1);
}

/* Is it one JSON value with nothing but white space around it? */
static bool is_json(const char *s, size_t n)
{
    struct json_scan scan = { 0 };
    size_t i = 0;
    enum json_scanned r = JSON_SCAN_MORE;
    while (i < n && r == JSON_SCAN_MORE)
        r = json_scan(&scan, s[i++]);
    if (r == JSON_SCAN_OVER)
        i--;
    bool whole = r == JSON_SCAN_LAST || r == JSON_SCAN_OVER || (r == JSON_SCAN_MORE && json_scan_may_end(&scan));
    while (whole && i < n && is_blank(s[i]))
        i++;
    return whole && i == n;
}

/* A value has ended. Of a parameter that is declared a string, the text has been handed on already and only the closing
 * quote is missing. Of any other the whole text was kept until now: if it is JSON it is handed on as it is, without the
 * blanks around it, and otherwise as a string. */
static void value_over(struct output *o)
{
    struct call_parser *p = o->parser;
    const char *s = p->value.data ? p->value.data : "";
    if (p->is_string) {
        call_argue(o, "\"", 1);
    } else if (is_json(s, p->value.len)) {
        size_t from = 0, to = p->value.len;
        while (is_blank(s[from]))
            from++;
        while (is_blank(s[to - 1]))
            to--;
        call_argue(o, s + from, to - from);
    } else {
        call_argue(o, "\"", 1);
        argue_escaped(o, s, p->value.len);
        call_argue(o, "\"", 1);
    }
    buf_clear(&p->value);
}

/* The name of a function, which ends with its line or with the first tag. The rest of the line of the opening mark is
 * passed over, and so is white space around the name. A name that is none, or too long, spoils the call. */
static enum step name(struct output *o, const char *s, size_t n, size_t *used)
{
    struct call_parser *p = o->parser;
    size_t i = 0;
    for (; i < n && s[i] != '\n' && s[i] != '<'; i++)
        if (p->name.len > 0 || !is_blank(s[i]))
            buf_byte(&p->name, s[i]);
    bool of_the_mark = i < n && s[i] == '\n' && p->name.len == 0;     /* the rest of its line */
    *used = i + of_the_mark;
    call_took(o, s, *used);
    if (p->name.len > OUTPUT_MAX_NAME)
        return STEP_BAD;
    if (i == n || of_the_mark)
        return STEP_MORE;
    while (p->name.len > 0 && is_blank(p->name.data[p->name.len - 1]))
        p->name.data[--p->name.len] = 0;
    p->state = BETWEEN;
    return p->name.len > 0 && !memchr("{[\"", p->name.data[0], 3) ? STEP_MORE : STEP_BAD;
}

/* Does s begin with the tag? -1: not even with its beginning; 0: it may, when more comes. */
static int begins(const char *s, size_t n, const char *tag)
{
    size_t len = strlen(tag), k = n < len ? n : len;
    if (memcmp(s, tag, k) != 0)
        return -1;
    return k == len;
}

/* A place where only tags may stand, and white space before them: a key opens, its value opens, or the call ends. A tag
 * that is cut by the end of the text waits for the rest. The first of them shows that this really is a call, so it is
 * announced here. */
static enum step tags(struct output *o, const char *s, size_t n, size_t *used)
{
    struct call_parser *p = o->parser;
    if (is_blank(*s)) {
        *used = 1;
        call_took(o, s, 1);
        return STEP_MORE;
    }
    if (p->state == BEFORE_VALUE) {
        int is = begins(s, n, open_value);
        if (is <= 0)
            return is < 0 ? STEP_BAD : STEP_MORE;
        *used = strlen(open_value);
        call_took(o, s, *used);
        p->state = IN_VALUE;
        argue_key(o);
        return STEP_MORE;
    }
    int key = begins(s, n, open_key), close = begins(s, n, close_call);
    if (key < 0 && close < 0)
        return STEP_BAD;
    if (key <= 0 && close <= 0)
        return STEP_MORE;
    if (!p->announced)
        call_announce(o, p->name.data, p->name.len);
    *used = strlen(close > 0 ? close_call : open_key);
    call_took(o, s, *used);
    if (close > 0) {
        call_argue(o, p->some ? "}" : "{}", p->some ? 1 : 2);
        return STEP_DONE;
    }
    buf_clear(&p->key);
    p->state = IN_KEY;
    return STEP_MORE;
}

/* Text up to a closing tag: a key, which is kept, or a value, of which a string is handed on as it comes. What may be
 * the beginning of the closing tag waits. */
static enum step text(struct output *o, const char *s, size_t n, size_t *used)
{
    struct call_parser *p = o->parser;
    bool   key = p->state == IN_KEY, whole = false;
    size_t before = before_mark(s, n, key ? close_key : close_value, &whole);
    call_took(o, s, before);
    if (key)
        buf_add(&p->key, s, before);
    else if (p->is_string)
        argue_escaped(o, s, before);
    else
        buf_add(&p->value, s, before);
    *used = before;
    if (p->key.len > OUTPUT_MAX_KEY)
        return STEP_BAD;
    if (!whole)
        return STEP_MORE;
    *used = before + strlen(key ? close_key : close_value);
    call_took(o, s + before, *used - before);
    if (!key)
        value_over(o);
    p->state = key ? BEFORE_VALUE : BETWEEN;
    return STEP_MORE;
}

/* Reads as far as the text goes and says in *used how much it took; what is left over is the beginning of a tag that
 * may still be completed. `end`: no more will come, so a call that is not over by then is broken. The loop stops when
 * neither text nor state moves, which is how a part waits for more. */
enum step glm_step(struct output *o, const char *s, size_t n, size_t *used, bool end)
{
    size_t at = 0;
    enum step step = STEP_MORE;
    while (step == STEP_MORE && at < n) {
        enum state state = (enum state)o->parser->state;
        size_t took = 0;
        if (state == NAME)
            step = name(o, s + at, n - at, &took);
        else if (state == BETWEEN || state == BEFORE_VALUE)
            step = tags(o, s + at, n - at, &took);
        else
            step = text(o, s + at, n - at, &took);
        at += took;
        if (took == 0 && state == (enum state)o->parser->state)
            break;
    }
    *used = at;
    return step == STEP_MORE && end ? STEP_BAD : step;
}

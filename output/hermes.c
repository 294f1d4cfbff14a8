/* output/hermes.c - a call as one JSON object: {"name": ..., "arguments": {...}}.
 *
 * The members may come in any order; "parameters" is Llama's name of "arguments". The arguments are handed on as they
 * come, byte by byte, once the name is known. */
#include <string.h>

#include "output/format.h"

enum state { OPEN, KEY_OR_CLOSE, KEY, IN_KEY, COLON, VALUE, IN_NAME, IN_ARGUMENTS, IN_OTHER, NEXT };

static bool is(const struct buf *b, const char *s) { return b->len == strlen(s) && memcmp(b->data, s, b->len) == 0; }

/* A string's JSON text, with its quotes, as the bytes that it stands for. false: they hold U+0000, or memory is out. */
static bool decode(struct buf *b)
{
    json_t *v = buf_ok(b) ? json_loadb(b->data, b->len, JSON_DECODE_ANY, NULL) : NULL;
    bool ok = json_is_string(v);
    if (ok) {
        buf_clear(b);
        buf_add(b, json_string_value(v), json_string_length(v));
    }
    json_decref(v);
    return ok && buf_ok(b);
}

/* Is what is known of the name one that may be called? */
static bool may_be_called(const struct output *o)
{
    const struct buf *name = &o->parser->name;
    if (name->len == 0 || name->len > OUTPUT_MAX_NAME)
        return false;
    return !o->options.tools->bare || !o->options.names || tool_names_has(o->options.names, name->data, name->len);
}

/* The arguments may be a string that holds the JSON, as they are on the wire; or null, for none. */
static enum step tell_value(struct output *o)
{
    struct call_parser *p = o->parser;
    if (is(&p->value, "null")) {
        call_argue(o, "{}", 2);
        return STEP_MORE;
    }
    if (p->value.data[0] == '"' && !decode(&p->value))
        return STEP_BAD;
    call_argue(o, p->value.data, p->value.len);
    return STEP_MORE;
}

/* Arguments that began with a brace go on at once; all others are looked at as a whole. */
static void argue(struct output *o, char c)
{
    struct call_parser *p = o->parser;
    if (p->announced && !p->is_string)
        call_argue(o, &c, 1);
    else
        buf_byte(&p->value, c);
}

/* The name of a call has ended. A second one, or that of a function that the request does not have, spoils the call.
 * Arguments that came first can be handed on now. */
static enum step name_known(struct output *o)
{
    struct call_parser *p = o->parser;
    if (p->has_name || !decode(&p->name) || !may_be_called(o))
        return STEP_BAD;
    p->has_name = true;
    if (!p->has_arguments)
        return STEP_MORE;
    call_announce(o, p->name.data, p->name.len);
    return tell_value(o);
}

/* One value, which `scan` follows, is complete. */
static enum step value_over(struct output *o, enum state was)
{
    struct call_parser *p = o->parser;
    p->state = NEXT;
    if (was == IN_NAME)
        return name_known(o);
    if (was == IN_ARGUMENTS && p->announced && p->is_string)
        return tell_value(o);
    return STEP_MORE;
}

/* The first byte of a member's value, which tells what its key makes of it. Arguments may begin with an object, a
 * string that holds one, or null. They may come before the name; then they are kept, because a call cannot be announced
 * without its name. */
static enum step begin_value(struct output *o, char c)
{
    struct call_parser *p = o->parser;
    p->scan = (struct json_scan){ 0 };
    if (is(&p->key, "name")) {
        p->state = IN_NAME;
        return c == '"' ? STEP_MORE : STEP_BAD;
    }
    if (!is(&p->key, "arguments") && !is(&p->key, "parameters")) {
        p->state = IN_OTHER;
        return STEP_MORE;
    }
    if (p->has_arguments || !strchr("{\"n", c))
        return STEP_BAD;
    p->state = IN_ARGUMENTS;
    p->has_arguments = true;
    p->is_string = c != '{';
    if (p->has_name)
        call_announce(o, p->name.data, p->name.len);
    return STEP_MORE;
}

/* The object is complete: a call without arguments has an empty object of them. */
static enum step close_object(struct output *o)
{
    struct call_parser *p = o->parser;
    if (!p->has_name || (o->options.tools->bare && !p->has_arguments))
        return STEP_BAD;
    if (!p->announced) {
        call_announce(o, p->name.data, p->name.len);
        call_argue(o, "{}", 2);
    }
    return STEP_DONE;
}

/* One byte of a value, which the JSON automaton judges. A number ends with a byte that is no part of it: *again is then
 * set, and the byte has to be looked at by what surrounds the value. */
static enum step value_byte(struct output *o, char c, bool *again)
{
    struct call_parser *p = o->parser;
    enum state was = (enum state)p->state;
    enum json_scanned is_now = json_scan(&p->scan, c);
    if (is_now == JSON_SCAN_BAD)
        return STEP_BAD;
    *again = is_now == JSON_SCAN_OVER;
    if (!*again && was == IN_NAME)
        buf_byte(&p->name, c);
    if (!*again && was == IN_ARGUMENTS)
        argue(o, c);
    if (p->name.len > OUTPUT_MAX_NAME * 6)       /* every byte may be an escape */
        return STEP_BAD;
    return is_now == JSON_SCAN_MORE ? STEP_MORE : value_over(o, was);
}

/* No member that counts here has a name that is written with escapes. */
static enum step key_byte(struct call_parser *p, char c)
{
    if (p->key.len > OUTPUT_MAX_KEY || (unsigned char)c < 0x20 || c == '\\')
        return STEP_BAD;
    if (c == '"')
        p->state = COLON;
    else
        buf_byte(&p->key, c);
    return STEP_MORE;
}

/* One byte of the object itself, between its members, or of one of them. An object without members is no call, which is
 * why a closing brace is only known behind one. */
static enum step byte(struct output *o, char c, bool *again)
{
    struct call_parser *p = o->parser;
    *again = false;
    if (p->state == IN_KEY)
        return key_byte(p, c);
    if (p->state >= IN_NAME && p->state <= IN_OTHER)
        return value_byte(o, c, again);
    if (is_blank(c))
        return STEP_MORE;
    switch ((enum state)p->state) {
    case OPEN:
        p->state = KEY_OR_CLOSE;
        return c == '{' ? STEP_MORE : STEP_BAD;
    case NEXT:
        if (c == '}')
            return close_object(o);
        p->state = KEY;
        return c == ',' ? STEP_MORE : STEP_BAD;
    case COLON:
        p->state = VALUE;
        return c == ':' ? STEP_MORE : STEP_BAD;
    case VALUE:
        *again = true;
        return begin_value(o, c);
    default:                           /* KEY_OR_CLOSE, KEY: an object without members is no call */
        buf_clear(&p->key);
        p->state = IN_KEY;
        return c == '"' ? STEP_MORE : STEP_BAD;
    }
}

/* Every byte counts as taken before it is looked at, and not any more where it was not wanted. */
enum step hermes_step(struct output *o, const char *s, size_t n, size_t *used, bool end)
{
    struct buf *raw = &o->parser->raw;
    *used = 0;
    while (*used < n) {
        bool again = false;
        call_took(o, s + *used, 1);
        enum step step = byte(o, s[*used], &again);
        bool refused = again || step == STEP_BAD;
        raw->len -= refused && raw->len > 0;
        *used += !refused;
        if (step != STEP_MORE)
            return step;
    }
    return end ? STEP_BAD : STEP_MORE;
}

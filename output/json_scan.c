/* output/json_scan.c - a pushdown automaton for JSON, one byte at a time. Its stack is one bit for each level: is it an
 * object or an array. */
#include "output/json_scan.h"

#include <ctype.h>
#include <string.h>

enum state {
    VALUE, FIRST_ITEM, FIRST_KEY, KEY, COLON, NEXT,           /* between tokens  */
    STRING, ESCAPE, HEX, LITERAL,
    MINUS, ZERO, DIGITS, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS
};

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static bool in_object(const struct json_scan *s)
{
    int i = s->depth - 1;
    return s->object[i / 8] >> (i % 8) & 1;
}

/* A value has ended inside of another one, or it was the whole. */
static enum json_scanned ended(struct json_scan *s)
{
    s->state = NEXT;
    return s->depth == 0 ? JSON_SCAN_LAST : JSON_SCAN_MORE;
}

/* One level deeper. The bit of the level says whether it is an object, which decides what may follow a comma. */
static enum json_scanned push(struct json_scan *s, bool object)
{
    if (s->depth == JSON_SCAN_DEPTH)
        return JSON_SCAN_BAD;
    int i = s->depth++;
    uint8_t bit = (uint8_t)(1u << (i % 8));
    s->object[i / 8] = (uint8_t)(object ? s->object[i / 8] | bit : s->object[i / 8] & ~bit);
    s->state = object ? FIRST_KEY : FIRST_ITEM;
    return JSON_SCAN_MORE;
}

/* The innermost object or array ends; it must be the kind that the bracket says. */
static enum json_scanned pop(struct json_scan *s, bool object)
{
    if (s->depth == 0 || in_object(s) != object)
        return JSON_SCAN_BAD;
    s->depth--;
    return ended(s);
}

static enum json_scanned go(struct json_scan *s, enum state state)
{
    s->state = (int)state;
    return JSON_SCAN_MORE;
}

/* `c` begins a value, or the text is no JSON. s->key goes, because a string that follows is a value and not a member's
 * name. */
static enum json_scanned begin_value(struct json_scan *s, char c)
{
    static const char *const literals[] = { "true", "false", "null" };
    s->key = false;
    switch (c) {
    case '{': return push(s, true);
    case '[': return push(s, false);
    case '"': return go(s, STRING);
    case '-': return go(s, MINUS);
    case '0': return go(s, ZERO);
    }
    if (isdigit((unsigned char)c))
        return go(s, DIGITS);
    for (int i = 0; i < 3; i++)
        if (c == literals[i][0]) {
            s->literal = literals[i] + 1;
            return go(s, LITERAL);
        }
    return JSON_SCAN_BAD;
}

/* A number ends with the first byte that is no part of it, which then belongs to what the number stands in. */
static enum json_scanned number_over(struct json_scan *s, char c)
{
    s->state = NEXT;
    return s->depth == 0 ? JSON_SCAN_OVER : json_scan(s, c);
}

/* Digits as JSON wants them: no leading zero, digits on both sides of the point and behind an exponent. The end of a
 * number is only seen by the byte behind it, which number_over() hands on to what surrounds it. */
static enum json_scanned number(struct json_scan *s, char c)
{
    bool digit = isdigit((unsigned char)c), e = c == 'e' || c == 'E';
    switch ((enum state)s->state) {
    case MINUS:
        if (!digit)
            return JSON_SCAN_BAD;
        return go(s, c == '0' ? ZERO : DIGITS);
    case DIGITS:
        if (digit)
            return JSON_SCAN_MORE;
        /* fall through */
    case ZERO:
        if (c == '.' || e)
            return go(s, e ? EXPONENT : POINT);
        return number_over(s, c);
    case POINT:
        return digit ? go(s, FRACTION) : JSON_SCAN_BAD;
    case FRACTION:
        if (digit || e)
            return go(s, e ? EXPONENT : FRACTION);
        return number_over(s, c);
    case EXPONENT:
        if (c == '+' || c == '-')
            return go(s, EXPONENT_SIGN);
        /* fall through */
    case EXPONENT_SIGN:
        return digit ? go(s, EXPONENT_DIGITS) : JSON_SCAN_BAD;
    default:
        return digit ? JSON_SCAN_MORE : number_over(s, c);
    }
}

/* A string between its quotes, a name or a value. Escapes are checked, but bytes above 127 are let through: whether
 * they are UTF-8 is checked where text is made. */
static enum json_scanned string(struct json_scan *s, char c)
{
    switch ((enum state)s->state) {
    case ESCAPE:
        s->left = 4;
        if (c == 'u')
            return go(s, HEX);
        return c && strchr("\"\\/bfnrt", c) ? go(s, STRING) : JSON_SCAN_BAD;
    case HEX:
        if (!isxdigit((unsigned char)c))
            return JSON_SCAN_BAD;
        return go(s, --s->left ? HEX : STRING);
    default:
        if (c == '\\')
            return go(s, ESCAPE);
        if (c == '"')
            return s->key ? go(s, COLON) : ended(s);
        return (unsigned char)c < 0x20 ? JSON_SCAN_BAD : JSON_SCAN_MORE;
    }
}

static enum json_scanned key(struct json_scan *s, char c)
{
    s->key = true;
    return c == '"' ? go(s, STRING) : JSON_SCAN_BAD;
}

/* Between two tokens of JSON, where white space may stand. */
static enum json_scanned between(struct json_scan *s, char c)
{
    if (blank(c))
        return JSON_SCAN_MORE;
    switch ((enum state)s->state) {
    case FIRST_ITEM: return c == ']' ? pop(s, false) : begin_value(s, c);
    case FIRST_KEY:  return c == '}' ? pop(s, true) : key(s, c);
    case KEY:        return key(s, c);
    case COLON:      return c == ':' ? go(s, VALUE) : JSON_SCAN_BAD;
    case NEXT:
        if (s->depth == 0)
            return JSON_SCAN_OVER;
        if (c == ',')
            return go(s, in_object(s) ? KEY : VALUE);
        return c == '}' || c == ']' ? pop(s, c == '}') : JSON_SCAN_BAD;
    default:         return begin_value(s, c);
    }
}

/* One byte more. The states are numbered in groups, by which function knows them. */
enum json_scanned json_scan(struct json_scan *s, char c)
{
    if (s->state <= NEXT)
        return between(s, c);
    if (s->state <= HEX)
        return string(s, c);
    if (s->state > LITERAL)
        return number(s, c);
    if (c != *s->literal)
        return JSON_SCAN_BAD;
    return *++s->literal ? JSON_SCAN_MORE : ended(s);
}

bool json_scan_may_end(const struct json_scan *s)
{
    return s->depth == 0 && (s->state == ZERO || s->state == DIGITS || s->state == FRACTION ||
                             s->state == EXPONENT_DIGITS);
}

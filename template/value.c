/* template/value.c - making values, and Python's truth, equality and
 * order. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "template/big.h"
#include "template/syntax.h"

/* ---- the rendering */

/* Ends the rendering from any depth with "line N: ..." in the error. Nothing that the
 * functions in between hold needs to be freed: all values lie in the arena. */
void tpl_fail(struct render *r, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(r->err, "line %d: %s", r->line, text);
    longjmp(r->escape, 1);
}

/* Ends the rendering because the machine has no memory left, which is the server's
 * trouble and not the template's; the request is answered accordingly. */
void tpl_starve(struct render *r)
{
    err_memory(r->err);
    longjmp(r->escape, 1);
}

/* Ends the rendering with a message that the template itself has written. It is cut
 * where a character begins, so that what remains is valid UTF-8. */
void tpl_raise(struct render *r, const struct str *message)
{
    int n = message->len < sizeof r->err->text ? (int)message->len : (int)sizeof r->err->text - 1;
    while (n < (int)message->len && n && ((unsigned char)message->data[n] & 0xc0) == 0x80)
        n--;
    err_set(r->err, "%.*s", n, message->data);
    if (r->err)
        snprintf(r->err->code, sizeof r->err->code, "template_raised");
    longjmp(r->escape, 1);
}

/* Zeroed memory for values, aligned to 16 bytes. It never returns NULL: a rendering
 * that needs more than its bound, or more than there is, ends here. */
void *tpl_alloc(struct render *r, size_t n)
{
    if (n > SIZE_MAX / 2)
        tpl_fail(r, "the template takes too much memory");
    void *p = arena_alloc(&r->arena, n ? (n + 15) & ~(size_t)15 : 16);
    if (!p && r->arena.starved)
        tpl_starve(r);
    if (!p)
        tpl_fail(r, "the template takes too much memory");
    return p;
}

/* Counts steps of work and ends a rendering that takes too many. */
void tpl_charge(struct render *r, size_t steps)
{
    if (steps >= r->max_steps - r->steps)
        tpl_fail(r, "the template takes too many steps");
    r->steps += steps;
}

/* ---- making values */

/* An undefined value that remembers why. It is no error to have one, to print it or to
 * test it; an operation that minds fails with this text. */
struct value v_undefined(struct render *r, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len >= sizeof text)
        len = sizeof text - 1;
    struct value v = { .kind = V_UNDEFINED };
    v.u.undefined = tpl_alloc(r, sizeof *v.u.undefined);
    v.u.undefined->text = memcpy(tpl_alloc(r, len + 1), text, len);
    return v;
}

/* A list or tuple of n values, which are copied. With n = 0 the caller may set its own
 * array afterwards. */
struct value v_list(struct render *r, enum value_kind kind, const struct value *v, size_t n)
{
    struct value out = { .kind = kind };
    out.u.list = tpl_alloc(r, sizeof *out.u.list);
    out.u.list->n = n;
    out.u.list->v = tpl_alloc(r, n * sizeof *v);
    if (n)
        memcpy(out.u.list->v, v, n * sizeof *v);
    return out;
}

struct value v_pair(struct render *r, struct value a, struct value b)
{
    return v_list(r, V_TUPLE, (struct value[]){ a, b }, 2);
}

/* A string whose bytes lie in the JSON of the request, all of one origin. */
static struct str *view_as(struct render *r, const char *data, size_t len, enum origin origin)
{
    struct str *s = tpl_str_view(r, data, len);
    s->origin = (uint8_t)origin;
    return s;
}

/* A string of the context. Places of images that stand at its start are the template's. */
static struct str *from_string(struct render *r, const json_t *j, enum origin origin)
{
    struct str *s = view_as(r, json_string_value(j), json_string_length(j), origin);
    for (size_t i = 0; i < r->opt->n_prefixes; i++)
        if (r->opt->prefix[i].string == j) {
            uint8_t *from = memset(tpl_alloc(r, s->len), FROM_TEMPLATE, s->len);
            memset(from + r->opt->prefix[i].n, origin, s->len - r->opt->prefix[i].n);
            s->from = from;
        }
    return s;
}

/* Templates write "<|" + role + "|>": such a word is theirs. */
static bool is_role(const struct str *key, const json_t *j)
{
    const char *s = json_string_value(j);
    size_t n = json_string_length(j), i = 0;
    while (s && i < n && ((s[i] >= 'a' && s[i] <= 'z') || s[i] == '_'))
        i++;
    return s && i == n && str_is(key, "role");
}

/* What a tool says is not the client's own. */
static bool is_others(const json_t *object)
{
    static const char *const roles[] = { "tool", "function", "observation", "ipython", "tool_response" };
    const char *role = json_string_value(json_object_get(object, "role"));
    for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++)
        if (strcmp(role, roles[i]) == 0)
            return true;
    return false;
}

/* A mapping from JSON, with its keys in their order. What a tool or another outside
 * role has said is marked as such, together with everything below it. */
static struct value from_object(struct render *r, const json_t *j, enum origin origin)
{
    struct dict *d = tpl_dict(r, json_object_size(j));
    json_t *object = (json_t *)(uintptr_t)j; /* jansson's iterators lack const */
    if (origin == FROM_REQUEST && is_others(j))
        origin = FROM_OTHERS;
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        struct str *key = view_as(r, json_object_iter_key(at), json_object_iter_key_len(at), origin);
        const json_t *v = json_object_iter_value(at);
        tpl_dict_set(r, d, v_str(key), v_from_json(r, v, is_role(key, v) ? FROM_TEMPLATE : origin));
    }
    return v_dict(d);
}

/* A list from JSON; its items have the origin of the whole. */
static struct value from_array(struct render *r, const json_t *j, enum origin origin)
{
    struct value v = v_list(r, V_LIST, NULL, 0);
    size_t n = json_array_size(j);
    v.u.list->v = tpl_alloc(r, n * sizeof *v.u.list->v);
    for (size_t i = 0; i < n; i++)
        v.u.list->v[v.u.list->n++] = v_from_json(r, json_array_get(j, i), origin);
    return v;
}

/* A number too large for its type: an integer keeps its digits, a float is infinite, as Python's reader has it. */
static struct value from_big(struct render *r, const char *text)
{
    const char *digits = text + (*text == '-');
    if (digits[strspn(digits, "0123456789")])
        return v_float(strtod(text, NULL));
    return tpl_big_parse(r, digits, strlen(digits), 10, *text == '-');
}

/* A value from JSON. Strings are not copied, so the JSON must outlive the rendering. */
struct value v_from_json(struct render *r, const json_t *j, enum origin origin)
{
    struct value v = v_none();
    const char *big = json_big(j, NULL);
    tpl_enter(r);
    switch (json_typeof(j)) {
    case JSON_OBJECT:  v = big ? from_big(r, big) : from_object(r, j, origin); break;
    case JSON_ARRAY:   v = from_array(r, j, origin); break;
    case JSON_STRING:  v = v_str(from_string(r, j, origin)); break;
    case JSON_INTEGER: v = v_int(json_integer_value(j)); break;
    case JSON_REAL:    v = v_float(json_real_value(j)); break;
    case JSON_TRUE:    v = v_bool(true); break;
    case JSON_FALSE:   v = v_bool(false); break;
    case JSON_NULL:    break;
    }
    tpl_leave(r);
    return v;
}

/* ---- asking values */

/* The name of the type as Python's messages have it, in the order of enum value_kind. */
const char *tpl_type(struct value v)
{
    static const char *const names[] = {
        "missing", "Undefined", "NoneType", "bool", "int", "int", "float", "str", "list", "tuple", "dict", "range",
        "dict view", "generator", "Namespace", "Macro", "LoopContext", "method", "function", "Cycler", "Joiner",
    };
    return names[v.kind];
}

bool tpl_is_number(struct value v) { return v.kind >= V_BOOL && v.kind <= V_FLOAT; }

/* A number as a double, rounded where it must be. The value has to be a number, and a
 * bool is one, as in Python. */
double tpl_number(struct value v)
{
    if (v.kind == V_BIG)
        return big_to_double(v.u.big);
    if (v.kind == V_FLOAT)
        return v.u.f;
    return v.kind == V_INT ? (double)v.u.i : (double)v.u.b;
}

/* A number as a double. An integer beyond all doubles ends the rendering. */
double tpl_float_arg(struct render *r, struct value v)
{
    double f = tpl_number(v);
    if (isinf(f) && v.kind == V_BIG)
        tpl_fail(r, "int too large to convert to float");
    return f;
}

static int64_t integer_of(struct value v) { return v.kind == V_INT ? v.u.i : v.u.b; }

/* An argument that has to be an integer of 64 bits. `what` names it in the message. */
int64_t tpl_int_arg(struct render *r, struct value v, const char *what)
{
    if (v.kind == V_UNDEFINED && v.u.undefined)
        tpl_fail(r, "%s", v.u.undefined->text);
    if (v.kind == V_BIG)
        tpl_fail(r, "%s does not fit 64 bits", what);
    if (v.kind != V_INT && v.kind != V_BOOL)
        tpl_fail(r, "%s must be an integer, not '%s'", what, tpl_type(v));
    return integer_of(v);
}

/* An argument that has to be a string; `what` names it in the message. */
struct str *tpl_str_arg(struct render *r, struct value v, const char *what)
{
    if (v.kind != V_STR)
        tpl_fail(r, "%s must be a string, not '%s'", what, tpl_type(v));
    return v.u.s;
}

/* What len() gives: characters for a string, entries for a mapping. False for values
 * without a length, as generators are. */
bool tpl_length(struct value v, size_t *n)
{
    switch (v.kind) {
    case V_UNDEFINED: *n = 0; return true;
    case V_STR:       *n = v.u.s->chars; return true;
    case V_LIST:
    case V_TUPLE:     *n = v.u.list->n; return true;
    case V_DICT:      *n = v.u.dict->n; return true;
    case V_RANGE:     *n = v.u.range->n; return true;
    case V_VIEW:      *n = v.u.view->dict->n; return true;
    default:          return false;
    }
}

/* Python's truth: empty, zero, none and undefined are false, and whatever has no length
 * is true. */
bool tpl_truth(struct render *r, struct value v)
{
    size_t n;
    (void)r;
    switch (v.kind) {
    case V_NONE: case V_MISSING: return false;
    case V_BOOL:  return v.u.b;
    case V_INT:   return v.u.i != 0;
    case V_BIG:   return true;
    case V_FLOAT: return v.u.f != 0;
    default:      return tpl_length(v, &n) ? n > 0 : true;
    }
}

/* ---- equality and order: both recurse into what values hold */

/* Which of two numbers is larger, exactly, also where a double cannot hold the integer: long double has 64 bits for
 * that, and larger integers have a comparison of their own. */
static int number_order(struct value a, struct value b)
{
    if (a.kind == V_BIG || b.kind == V_BIG) {
        if (a.kind != V_FLOAT && b.kind != V_FLOAT)
            return big_order(a, b);
        double f = a.kind == V_FLOAT ? a.u.f : b.u.f;
        if (isnan(f))
            return UNORDERED;
        return a.kind == V_FLOAT ? -big_order_double(b, f) : big_order_double(a, f);
    }
    if (a.kind != V_FLOAT && b.kind != V_FLOAT) {
        int64_t x = integer_of(a), y = integer_of(b);
        return (x > y) - (x < y);
    }
    long double x = a.kind == V_FLOAT ? (long double)a.u.f : (long double)integer_of(a);
    long double y = b.kind == V_FLOAT ? (long double)b.u.f : (long double)integer_of(b);
    return isnan(x) || isnan(y) ? UNORDERED : (x > y) - (x < y);
}

/* Two mappings are equal if they hold equal values under equal keys, in whatever order. */
static bool dict_equal(struct render *r, const struct dict *a, const struct dict *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        struct value *other = tpl_dict_get(r, b, a->e[i].key);
        if (!other || !tpl_equal(r, a->e[i].value, *other))
            return false;
    }
    return true;
}

/* Equal lists have equal items in the same order. A list is equal to itself without a
 * look at its items, even if one is a nan, as in Python. */
static bool list_equal(struct render *r, const struct list *a, const struct list *b)
{
    if (a == b)
        return true;
    if (a->n != b->n)
        return false;
    tpl_charge(r, a->n);
    for (size_t i = 0; i < a->n; i++)
        if (!tpl_equal(r, a->v[i], b->v[i]))
            return false;
    return true;
}

/* keys() and items() compare as sets; values() only with itself. */
static bool view_equal(struct render *r, const struct view *a, const struct view *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind || a->kind == VIEW_VALUES || a->dict->n != b->dict->n)
        return false;
    if (a->kind == VIEW_ITEMS)
        return dict_equal(r, a->dict, b->dict);
    for (size_t i = 0; i < a->dict->n; i++)
        if (!tpl_dict_get(r, b->dict, a->dict->e[i].key))
            return false;
    return true;
}

static bool range_equal(const struct range *a, const struct range *b)
{
    return a->n == b->n && (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

/* What only reads a large integer has no other steps to pay with. */
static void charge_number(struct render *r, struct value v)
{
    if (v.kind == V_BIG)
        tpl_charge(r, 4 + v.u.big->n / 4);
}

/* Python's ==. Values of different types differ, except that all numbers compare by
 * their value. The comparison recurses, so it counts as levels and is charged. */
bool tpl_equal(struct render *r, struct value a, struct value b)
{
    bool same = false;
    charge_number(r, a);
    charge_number(r, b);
    if (tpl_is_number(a) && tpl_is_number(b))
        return number_order(a, b) == 0;
    if (a.kind != b.kind)
        return false;
    tpl_charge(r, 1);
    tpl_enter(r);
    switch (a.kind) {
    case V_UNDEFINED: case V_NONE: case V_MISSING:
        same = true;
        break;
    case V_STR:
        tpl_charge(r, a.u.s->len / 64);
        same = a.u.s->len == b.u.s->len && memcmp(a.u.s->data, b.u.s->data, a.u.s->len) == 0;
        break;
    case V_LIST: case V_TUPLE:
        same = list_equal(r, a.u.list, b.u.list);
        break;
    case V_DICT:
        same = a.u.dict == b.u.dict || dict_equal(r, a.u.dict, b.u.dict);
        break;
    case V_RANGE:
        same = range_equal(a.u.range, b.u.range);
        break;
    case V_VIEW:
        same = view_equal(r, a.u.view, b.u.view);
        break;
    case V_METHOD:
        same = a.u.method->builtin == b.u.method->builtin && tpl_equal(r, a.u.method->self, b.u.method->self);
        break;
    default:
        same = a.u.dict == b.u.dict; /* the same object */
    }
    tpl_leave(r);
    return same;
}

/* The order of two lists: that of the first items that differ, else that of the
 * lengths. */
static int list_order(struct render *r, const struct list *a, const struct list *b, const char *op)
{
    for (size_t i = 0; i < a->n && i < b->n; i++)
        if (!tpl_equal(r, a->v[i], b->v[i]))
            return tpl_compare(r, a->v[i], b->v[i], op);
    return (a->n > b->n) - (a->n < b->n);
}

/* The order of two values for < and its kin: -1, 0, 1, or UNORDERED where a nan is
 * involved. Types that Python does not order end the rendering with its message, in
 * which `op` stands. */
int tpl_compare(struct render *r, struct value a, struct value b, const char *op)
{
    charge_number(r, a);
    charge_number(r, b);
    if (tpl_is_number(a) && tpl_is_number(b))
        return number_order(a, b);
    if (a.kind == V_UNDEFINED || b.kind == V_UNDEFINED) {
        const struct undefined *u = a.kind == V_UNDEFINED ? a.u.undefined : b.u.undefined;
        tpl_fail(r, "%s", u ? u->text : "a value is undefined");
    }
    if (a.kind == V_STR && b.kind == V_STR) {
        tpl_charge(r, 1 + a.u.s->len / 64);
        int order = str_order(a.u.s, b.u.s);
        return (order > 0) - (order < 0);
    }
    if (a.kind == b.kind && (a.kind == V_LIST || a.kind == V_TUPLE)) {
        tpl_charge(r, 1 + a.u.list->n);
        tpl_enter(r);
        int order = list_order(r, a.u.list, b.u.list, op);
        tpl_leave(r);
        return order;
    }
    tpl_fail(r, "'%s' not supported between instances of '%s' and '%s'", op, tpl_type(a), tpl_type(b));
}

/* Does the range hold the item? Computed, not searched, since a range may be long. */
static bool in_range(const struct range *g, struct value item)
{
    int64_t i;
    if (item.kind == V_FLOAT && item.u.f == floor(item.u.f) && fabs(item.u.f) < 9e15)
        i = (int64_t)item.u.f;
    else if (item.kind == V_INT || item.kind == V_BOOL)
        i = integer_of(item);
    else
        return false;
    if (!g->n || (g->step > 0 ? i < g->start || i >= g->stop : i > g->start || i <= g->stop))
        return false;
    return ((__int128)i - g->start) % g->step == 0;
}

/* Python's `item in container`: a part of a string, a key of a mapping, an item of
 * anything else that can be walked. */
bool tpl_in(struct render *r, struct value item, struct value container)
{
    struct value v;
    if (container.kind == V_STR) {
        struct str *what = tpl_str_arg(r, item, "what is looked for in a string");
        tpl_charge(r, 1 + container.u.s->len / 16);
        return str_find(container.u.s, 0, container.u.s->len, what) >= 0;
    }
    if (container.kind == V_DICT || (container.kind == V_VIEW && container.u.view->kind == VIEW_KEYS))
        return tpl_dict_get(r, container.kind == V_DICT ? container.u.dict : container.u.view->dict, item) != NULL;
    if (container.kind == V_RANGE)
        return in_range(container.u.range, item);
    if (!tpl_iterable(container))
        tpl_fail(r, "argument of type '%s' is not iterable", tpl_type(container));
    for (struct iter *it = tpl_iter(r, container); tpl_next(r, it, &v);)
        if (tpl_equal(r, v, item))
            return true;
    return false;
}

/* template/layout.h - how one value is written into a width: what the formats of
 * % (percent.c) and of str.format() (format.c) have in common. */
#ifndef TEMPLATE_LAYOUT_H
#define TEMPLATE_LAYOUT_H
#include "template/syntax.h"

/* How one value is laid out; both notations end here. */
struct layout {
    uint32_t fill;
    char     align;     /* '<' '>' '^' '=' or 0: the type's own */
    char     sign;      /* '+' ' ' or '-'                       */
    bool     alternate, zero;
    int64_t  width, precision; /* precision -1: none            */
    char     group;     /* ',' '_' or 0                         */
    char     type;      /* 0: none given                        */
};

enum { MAX_PRECISION = 200 };

/* Write one value by a layout. Widths are charged as steps before anything is padded. */
void layout_string(struct text *out, const struct layout *l, const struct str *s);
void layout_integer(struct text *out, const struct layout *l, struct value v);
void layout_float(struct text *out, const struct layout *l, double f);    /* precision: at most MAX_PRECISION */

#endif

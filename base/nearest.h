/* base/nearest.h - what somebody may have meant who mistyped a name.
 *
 *     struct nearest near;
 *     nearest_begin(&near, typed, strlen(typed));
 *     for (...) nearest_offer(&near, name);
 *     if (*near.best) "did you mean %s?", near.best */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H
#include <stddef.h>

enum { NEAREST_BYTES = 48 };

struct nearest {
    char typed[NEAREST_BYTES];     /* longer words are nobody's */
    char best[NEAREST_BYTES];      /* ""; else the name that is likeliest so far */
    int  distance;                 /* of the best one; the first among equals stays */
};

void nearest_begin(struct nearest *n, const char *typed, size_t length);
void nearest_offer(struct nearest *n, const char *name);

#endif

/* base/place.h - where the code that runs was loaded from: the program, or the shared library within somebody else's
 * process. What was installed beside it is looked for from there. */
#ifndef BASE_PLACE_H
#define BASE_PLACE_H
#include <stddef.h>

/* The absolute path of the folder, at most n bytes of it; "" if nobody can say. */
void place_folder(char *out, size_t n);

#endif

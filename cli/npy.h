/* cli/npy.h - float32 arrays as NumPy's files (format 1.0).
 *
 *     npy_begin(f);                    // leaves room for the header
 *     fwrite(floats ...)               // in the order of the shape, little-endian
 *     npy_end(f, "12, 2, 512");        // the shape is known only now
 *
 * NPY_HEADER bytes stand before the numbers. Both return false if they cannot
 * write. */
#ifndef CLI_NPY_H
#define CLI_NPY_H
#include <stdbool.h>
#include <stdio.h>

enum { NPY_HEADER = 192 };

bool npy_begin(FILE *f);
bool npy_end(FILE *f, const char *shape);   /* fits into 100 characters */

#endif

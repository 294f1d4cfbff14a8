/* cli/npy.c - NumPy's files: magic, length, a Python dictionary padded to a multiple of 64 bytes, the data. */
#include "cli/npy.h"

#include <stdint.h>
#include <string.h>

bool npy_begin(FILE *f)
{
    const char zeros[NPY_HEADER] = { 0 };
    return fwrite(zeros, 1, sizeof zeros, f) == sizeof zeros;
}

/* Writes the header of NumPy's format, version 1, into the room at the beginning of the file. Its length is fixed, so
 * that the data behind it lies as it was written. */
bool npy_end(FILE *f, const char *shape)
{
    enum { MAGIC = 10, TEXT = NPY_HEADER - MAGIC };
    char header[NPY_HEADER + 1];
    const uint8_t magic[MAGIC] = { 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, TEXT, 0 };
    memset(header, ' ', sizeof header);
    memcpy(header, magic, MAGIC);
    int n = snprintf(header + MAGIC, TEXT, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
    header[MAGIC + n] = ' ';
    header[NPY_HEADER - 1] = '\n';
    return n < TEXT - 1 && fseek(f, 0, SEEK_SET) == 0 && fwrite(header, 1, NPY_HEADER, f) == NPY_HEADER;
}

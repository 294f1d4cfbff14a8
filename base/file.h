/* base/file.h - the whole of a regular file. Pipes, devices and folders are
 * refused without waiting for them. */
#ifndef BASE_FILE_H
#define BASE_FILE_H
#include "base/buf.h"
#include "base/err.h"

/* A descriptor for reading; -1 and a message that names the file. */
int file_open(const char *path, struct err *e);

/* Appends the file to `out`. 0; 1: there is no such file; -1: larger than the buffer's maximum, or cannot be read. */
int file_read(const char *path, struct buf *out, struct err *e);

#endif

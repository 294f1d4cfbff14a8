/* base/file.h - the whole of a regular file. Pipes, devices and folders are
 * refused without waiting for them; so is what stands in place of a file that
 * was not downloaded, a Git LFS pointer for one. */
#ifndef BASE_FILE_H
#define BASE_FILE_H
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

/* Also true of a link that leads nowhere, so that opening it says so: it is no file that may be absent. */
bool file_exists(const char *path);

/* A descriptor for reading; -1 and a message that names the file. */
int file_open(const char *path, struct err *e);

/* Appends the file to `out`. 0; 1: there is no such file; -1: larger than the buffer's maximum, or cannot be read. */
int file_read(const char *path, struct buf *out, struct err *e);

/* The same of a file that must be there: -1 and a message also where there is none. */
int file_must_read(const char *path, struct buf *out, struct err *e);

#endif

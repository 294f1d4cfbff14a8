#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_open(const char *path, struct err *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_set(e, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return err_set(e, "%s: not a regular file", path);
}

int file_read(const char *path, struct buf *out, struct err *e)
{
    char part[65536];
    ssize_t n;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return 1;
    int fd = file_open(path, e);
    if (fd < 0)
        return -1;
    while ((n = read(fd, part, sizeof part)) > 0 && buf_ok(out))
        buf_add(out, part, (size_t)n);
    close(fd);
    if (n < 0)
        return err_set(e, "%s: cannot be read", path);
    return buf_ok(out) ? 0 : err_set(e, "%s: larger than %zu bytes", path, out->max);
}

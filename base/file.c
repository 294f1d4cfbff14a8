/* base/file.c - opens and reads regular files, and tells a placeholder from the file that should be there. See
 * file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

bool file_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 || errno != ENOENT;
}

/* What lies where a file should be that was not really downloaded. NULL: nothing of the kind. */
static const char *placeholder(int fd)
{
    static const struct { const char *start, *what; } known[] = {
        { "version https://git-lfs.github.com/spec/",
          "a Git LFS pointer and not the file itself: run `git lfs pull` in its folder, or download the file" },
        { "<!doctype html", "a web page and not the file itself: download the file" },
        { "<html", "a web page and not the file itself: download the file" },
    };
    char start[64];
    ssize_t n = pread(fd, start, sizeof start, 0);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i].start);
        if (n >= (ssize_t)len && strncasecmp(start, known[i].start, len) == 0)
            return known[i].what;
    }
    return NULL;
}

/* O_NONBLOCK keeps the call from waiting at a pipe that nobody writes; for a regular file it means nothing. What is
 * not regular, or only stands in for a file, is refused with a text that says what to do. */
int file_open(const char *path, struct err *e)
{
    struct stat st;
    const char *what = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_set(e, "%s: %s", path, strerror(errno));
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (regular && !(what = placeholder(fd)))
        return fd;
    close(fd);
    return regular ? err_set(e, "%s: is %s", path, what) : err_set(e, "%s: not a regular file", path);
}

/* Reading goes on until the end of the file and not up to its size, which may change meanwhile; the buffer's maximum
 * bounds it. */
int file_read(const char *path, struct buf *out, struct err *e)
{
    char part[65536];
    ssize_t n;
    if (!file_exists(path))
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

int file_must_read(const char *path, struct buf *out, struct err *e)
{
    int rc = file_read(path, out, e);
    return rc == 1 ? err_set(e, "%s: No such file or directory", path) : rc;
}
